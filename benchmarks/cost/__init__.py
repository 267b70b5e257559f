"""How cost grows with picture size, pictures a call, clients, cores and text length: `cost`."""
