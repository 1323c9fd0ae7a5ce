"""What `dramatiq workers.actors` imports: the broker of this environment with our one actor on it."""

# ruff: noqa: E402 - what imports prometheus-client comes after it was told where to count
import os

from domain.settings import load_settings, share_metrics
from workers.shared_metrics import shared_directory

share_metrics(shared_directory(os.getppid()))

import dramatiq

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
