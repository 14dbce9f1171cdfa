"""The picture index over HTTP: a REST service and a search page (`vision serve`)."""
