"""Where vectors live: the protocol, its engines, filters over columns, indexes in folders and on servers."""
