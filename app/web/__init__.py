"""The server: routes, security, login, media, and the page put together from its subjects."""
