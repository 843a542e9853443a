"""clients/web in a real browser, whose push service and desktop are played and whose everything else is Chromium's."""

WAIT_S = 20.0  # for anything a healthy browser does at once
