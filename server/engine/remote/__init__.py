"""The engine whose model runs elsewhere, behind an OpenAI-compatible chat endpoint.

Decisions:

- Everything that the endpoint takes or refuses (log-probabilities, the name of the token limit, a
  temperature) is found out once, in `start`, and stays so for the run: all answers of a record were
  obtained in one way, and the card's version names that way.
- Proxies and certificates from the environment are used only when asked for (`trust_env`): a
  picture must not travel through a machine that nobody named.
- Redirects are never followed, so neither key nor picture reaches another host.
- The key, the credentials in an address and the address's path are in no error, card or log. What
  an endpoint says about a refused key is not repeated, since some repeat the key.
"""

from server.engine.remote.engine import RemoteEngine
from server.engine.remote.pictures import PictureEncoding
from server.engine.remote.retries import Patience

__all__ = ["Patience", "PictureEncoding", "RemoteEngine"]
