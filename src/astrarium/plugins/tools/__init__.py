"""Tools that come with Astrarium, in the namespace `std`: one file each."""
