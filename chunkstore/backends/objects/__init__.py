"""Back ends over object stores: S3, GCS, Azure, and what speaks like them."""
