"""pywikibot: `EventStreams` over requests-sse; reconnects by itself."""

import json
import os
import sys

# Without a configuration of its user's, and with a site that is not asked anything.
os.environ["PYWIKIBOT_NO_USER_CONFIG"] = "2"

import pywikibot  # noqa: E402
from pywikibot.comms.eventstreams import EventStreams  # noqa: E402
from pywikibot.site import BaseSite  # noqa: E402
from report import show  # noqa: E402

site = pywikibot.Site("en", "wikipedia", interface=BaseSite)
for change in EventStreams(url=sys.argv[1], site=site):
    show(json.dumps(change))
