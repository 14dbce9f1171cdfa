"""Series from others and for others: published parcel files, Brainmarks' Arrow layout."""
