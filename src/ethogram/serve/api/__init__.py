"""The API of the live service, and the application that serves it with the page."""
