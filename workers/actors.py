"""What `dramatiq workers.actors` imports: the broker of this environment with our one actor on it."""

import dramatiq

from domain.settings import load_settings
from domain.telemetry import configure_logging
from workers.broker import make_broker
from workers.runtime import Runtime, die_with_parent, end_once
from workers.sync import declare_sync

end_once()
die_with_parent()
settings = load_settings("worker")
runtime = Runtime(settings)
# Before the broker's event loop begins to log.
configure_logging(settings, "worker")
broker = make_broker(settings, runtime)
dramatiq.set_broker(broker)
declare_sync(broker, runtime)
