"""How the service speaks to its processes: by variables, and in each by what it knows of its own end."""

import threading

# Beside these it sets those of `carbonation_core.config.loading`, which say
# where the configuration is and which copy of it is in force.

DAGSTER_HOME = "DAGSTER_HOME"

# The file that says, once it is there, that the service stops. By this variable
# the processes of a service that was killed are known.
STOP_FILE = "CARBONATION_STOP_FILE"

# Seconds that a tick may wait for files. Such a tick needs a server thread of
# its own, which only the service sees to; elsewhere ticks do not wait.
TICK_WAIT = "CARBONATION_TICK_WAIT"

# Of the process's log; where it is not set, logging is whoever's it is.
LOG_LEVEL = "CARBONATION_LOG_LEVEL"

# That this process alone is to end, as another one takes its place: begin nothing new.
PROCESS_ENDS = threading.Event()
