"""Programs written with :mod:`kdump.API`."""
