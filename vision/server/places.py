"""Where things are on the server."""

API = "/api/v1"
SESSION = f"{API}/session"
UPLOADS = f"{API}/uploads"
SIGN_IN = "/sign-in"
