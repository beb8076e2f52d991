"""Shell: answers gateways that ask what callers get who get no agent, whether this worker has room or not."""

from typing import Final

from nats.aio.msg import Msg

from trunkline_common import control, log, subjects
from trunkline_common.bus import Bus
from trunkline_common.control import LineTreatment, LineTreatmentRequest, Treatment
from trunkline_worker import metrics
from trunkline_worker.profile_watch import WatchedProfiles
from trunkline_worker.profiles import Profile
from trunkline_worker.treatment_profiles import after_waiting

BUILT_IN_QUEUE: Final = "trunkline"
"""Where callers wait whose line has no profile; no profile makes them wait, but one may be removed meanwhile."""

_log = log.get(__name__)


class TreatmentDesk:
    """The answers of one worker, from the profiles that are in use."""

    def __init__(self, worker: str, profiles: WatchedProfiles) -> None:
        self._worker = worker
        self._profiles = profiles

    async def open(self, bus: Bus, region: str) -> None:
        """Begin to answer."""
        await bus.subscribe(subjects.treatment(region), self._on_request, subjects.TREATMENT_QUEUE)

    async def _on_request(self, message: Msg) -> None:
        try:
            request = control.decode(message.data, LineTreatmentRequest)
        except control.ControlError as error:
            _log.warning("treatment-request-malformed", why=str(error))
            return
        metrics.TREATMENTS_TOLD.inc()
        answer = line_treatment(self._worker, self._profiles.profile_for(request.called))
        await message.respond(control.encode(answer))


def line_treatment(worker: str, profile: Profile | None) -> LineTreatment:
    """Return what a profile says; without one, the gateway's own sentences."""
    if profile is None:
        return LineTreatment(worker=worker, queue=BUILT_IN_QUEUE)
    full, failing = profile.when_full, profile.when_failing
    return LineTreatment(
        worker=worker,
        queue=profile.name,
        full=full.treatment() if full else Treatment(),
        then=after_waiting(full) if full else Treatment(),
        failing=failing.treatment() if failing else Treatment(),
    )
