"""What `dramatiq workers.actors` imports: the broker of this environment with our one actor on it."""

import dramatiq

from domain.settings import load_settings
from workers.broker import make_broker
from workers.runtime import Runtime, die_with_parent
from workers.sync import declare_sync

die_with_parent()
settings = load_settings("worker")
runtime = Runtime(settings)
broker = make_broker(settings, runtime)
dramatiq.set_broker(broker)
declare_sync(broker, runtime)
