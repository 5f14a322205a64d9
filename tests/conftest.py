"""What every test shares: how hard hypothesis tries."""

import os

from hypothesis import HealthCheck, settings

# No deadlines: the machines that run this are shared, and a slow moment is no defect.
settings.register_profile("dev", max_examples=50, deadline=None)
settings.register_profile(
    "ci",
    max_examples=100,  # because the whole suite should end within minutes on two cores
    deadline=None,
    derandomize=True,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("nightly", max_examples=20_000, deadline=None)
settings.load_profile(os.environ.get("DRSYNC_HYPOTHESIS_PROFILE", "ci" if os.environ.get("CI") else "dev"))
