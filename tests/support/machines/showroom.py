"""An agent with content for screenshots: real jobs of its own services, a scripted machine with two cards for the others, and payouts.

Texts and pictures of the scripted machine are stand-ins, which only people who work on the dashboard see.
"""

from __future__ import annotations

import math
import subprocess
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx

from aitbc import AITBCClient
from aitbc.errors import JobFailed
from aitbc.leaves.payouts import PayoutAddress
from support.agents import Agent, running
from support.clients.openai_jobs import send_tokens
from support.clients.scripted_miner import GPU, ScriptedMiner, capabilities
from support.inputs.media import make_scene, make_speech, make_video
from support.machines.gpu_samples import INTERVAL, store_gpu_samples

JOB_SECONDS = 600.0
BEAT_SECONDS = 4.0
GAP_HOUR = 5
"""So many hours ago, the scripted machine was offline for an hour."""
SETTINGS = {
    "AITBC_MINER__DRAIN_SECONDS": "0",
    "AITBC_PAYOUTS__ADAPTERS": '["file"]',
    "AITBC_PAYOUTS__HOLD_HOURS": "0",
    "AITBC_PAYOUTS__NEW_MINER_HOURS": "0",
    "AITBC_PAYOUTS__MINIMUM": "0.01",
    "AITBC_PAYOUTS__FILE__ADDRESS": "text",
}
MODELS = {
    "whisper_transcription": (["tiny.en", "large-v3"], "0.0002"),
    "image_generation": (["stable-diffusion-1.5", "sdxl"], "0.004"),
    "llm_inference": (["smollm2-135m-instruct"], "0.0000004"),
    "text_embedding": (["all-minilm-l6-v2"], "0.00000002"),
    "text_reranking": (["bge-reranker-v2-m3"], "0.00000002"),
}
"""Of each service of the scripted machine: its models, and the price of a unit."""
SPEECH = (
    "Good morning, and welcome to the weekly meeting. The new rendering machines have arrived.",
    "They will be connected to the network before noon on Friday.",
    "Please send your scenes to the coordinator in time. Thank you, and have a good week.",
)
ANSWER = "The capital of France is **Paris**. It lies on the Seine, and has about two million inhabitants."
CLASSIFIER = """
def predict(input, **parameters):
    print("model loaded in 0.4 s")
    print("12 pictures classified")
    return {"label": "sunset", "confidence": 0.94, "others": {"forest": 0.04, "sea": 0.02}}
"""
BROKEN = "def predict(input):\n    return {}['label']\n"
SLOW = "import time\n\ndef predict(input):\n    time.sleep(86400)\n"


class Rig(ScriptedMiner):
    """A machine with two cards that answers jobs with stand-ins and reports measurements, in a thread, until it is stopped."""

    stopped: threading.Event
    picture: bytes

    def join(self, token: str) -> None:
        """Register with what it offers."""
        cards = [{**GPU, "uuid": f"GPU-{index}", "index": index, "name": f"NVIDIA GeForce RTX {name}"} for index, name in enumerate(("4090", "3060"))]  # fmt: skip
        offered = capabilities(gpus=cards, unavailable={"video_transcoding": ["ffmpeg was not found."]})
        every = offered["services"]
        offered["services"] = {
            service: {**every[service], "models": models, "unit_price": price, "downloadable": True}
            for service, (models, price) in MODELS.items()
        }
        self.register(enrolment_token=token, capabilities=offered, name="rack-7").raise_for_status()
        self.stopped = threading.Event()
        threading.Thread(target=self._repeat, args=(self._beat, BEAT_SECONDS), daemon=True).start()
        threading.Thread(target=self._repeat, args=(self._work, 0.1), daemon=True).start()

    def _repeat(self, work: Callable[[], None], seconds: float) -> None:
        while not self.stopped.wait(seconds):
            try:
                work()
            except httpx.HTTPError:
                traceback.print_exc()

    def _beat(self) -> None:
        load = 50 + 45 * math.sin(time.time() / 40)
        gpus = [
            {"uuid": "GPU-0", "memory_free": 6 * 2**30, "utilization": int(load), "temperature": 71, "power": 310, "power_limit": 450},
            {"uuid": "GPU-1", "memory_free": 11 * 2**30, "utilization": 0, "temperature": 38, "power": 14, "paused": "for another program (game)"},
        ]  # fmt: skip
        activity = {
            "idle": [
                {"reason": "working", "share": 0.4},
                {"reason": "no job that fits is waiting", "share": 0.45},
                {"reason": "fetching a model or an input", "share": 0.15},
            ],
            "downloads": [{"model": "sdxl", "done": 2**30, "total": 4 * 2**30}],
            "energy": {
                "price": 0.31,
                "currency": "EUR",
                "today": {"period": "today", "jobs": 3, "kwh": 1.25, "idle_kwh": 0.05, "earned": "1.2", "electricity": "0.39", "net": "0.81"},
                "month": {"period": "this month", "jobs": 9, "kwh": 5.0, "earned": "1.3", "electricity": "1.55", "net": "-0.25"},
            },
        }  # fmt: skip
        body = {"leases": [_held(lease) for lease in self.leases], "gpus": gpus, "activity": activity}
        self.http.post("/heartbeat", json=body).raise_for_status()

    def _work(self) -> None:
        for lease in self.poll(wait=1):
            results = RESULTS[lease["service"]](self, lease)
            self.complete(lease, results).raise_for_status()
            self.leases.remove(lease)

    def transcript(self, _: dict[str, Any]) -> dict[str, Any]:
        segments = [
            {"start": 5.0 * index, "end": 5.0 * index + 4.6, "text": text}
            for index, text in enumerate(SPEECH)
        ]
        return {
            "text": " ".join(SPEECH), "language": "en", "duration": 14.6, "segments": segments, "files": [],
            "units": 14.6, "processing_time": 1.2,
        }  # fmt: skip

    def images(self, lease: dict[str, Any]) -> dict[str, Any]:
        file = self.upload(self.picture, "image/png", lease)
        image = {**file, "name": "image_0.png", "url": "", "seed": 7, "width": 512, "height": 512}
        return {"images": [image], "units": 5.24, "processing_time": 3.4}

    def answer(self, lease: dict[str, Any]) -> dict[str, Any]:
        send_tokens(self, lease, *ANSWER.split(" "))
        usage = {"prompt_tokens": 7, "completion_tokens": 24, "total_tokens": 31}
        return {
            "text": ANSWER, "finish_reason": "stop", "usage": usage, "units": 31, "processing_time": 0.5,
        }  # fmt: skip

    def pay_to(self, address: str) -> None:
        """Name an account for payouts."""
        statement = PayoutAddress(
            miner_id=self.miner_id,
            adapter="file",
            address=address,
            currency="EUR",
            sequence=time.time_ns() // 1_000_000,
            created_at=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            origin=self.registration["origin"],
        )
        self.http.put(f"/{self.miner_id}/payout-address", json=statement.sign(self.key)).raise_for_status()


def _held(lease: dict[str, Any]) -> dict[str, Any]:
    return {"job_id": lease["job_id"], "fence": lease["fence"]}


RESULTS: dict[str, Callable[[Rig, dict[str, Any]], dict[str, Any]]] = {
    "whisper_transcription": Rig.transcript,
    "image_generation": Rig.images,
    "llm_inference": Rig.answer,
}


@contextmanager
def showroom(folder: Path) -> Iterator[tuple[Agent, Rig, dict[str, str]]]:
    """Yield an agent with content, its scripted machine, and pages of single objects by name."""
    agent = Agent(folder / "data", "start", "--port", "0", **SETTINGS)
    with running(agent, seconds=600), agent.client() as client, ExitStack() as stack:
        admin = httpx.Client(base_url=agent.url, headers={"X-API-Key": agent.file["admin_key"]}, timeout=120)
        rig = Rig(agent.url)
        rig.picture = _picture(folder)
        enrolment = {"owner": "alice", "uses": 2, "note": "rack-7 in the cellar"}
        token = admin.post("/v1/admin/enrolments", json=enrolment).json()["enrolment_token"]
        ScriptedMiner(agent.url).register(enrolment_token=token, name="old-laptop").raise_for_status()
        rig.join(token)
        stack.callback(rig.stopped.set)
        now = time.time()
        day = {now - ago: _cards(ago) for ago in range(INTERVAL, 86_400, INTERVAL) if ago // 3600 != GAP_HOUR}
        store_gpu_samples(agent.data_dir, rig.miner_id, day)
        jobs = _submit(client, agent, rig, folder)
        _accounts(admin)
        rig.pay_to("DE02500105170000000000")
        answer = admin.post("/v1/admin/payouts", json={"adapter": "file", "rate": "0.9"})
        assert answer.is_success, answer.text
        yield (
            agent,
            rig,
            {
                **{name: f"/jobs/{job}" for name, job in jobs.items()},
                "miner": f"/network/miners/{rig.miner_id}",
                "network-job": f"/network/jobs/{jobs['transcript']}",
                "batch": f"/network/payouts/{answer.json()['batch_id']}",
            },
        )


def _cards(ago: int) -> list[dict[str, Any]]:
    """Return what the two cards reported so many seconds ago: the first renders in bursts, the second in the morning only."""
    wave = math.sin(ago / 4000) + 0.6 * math.sin(ago / 1100)
    busy, morning = wave > -0.3, 8 <= ago / 3600 <= 13
    return [
        {"uuid": "GPU-0", "utilization": round(70 + 18 * wave) if busy else 0, "memory_free": (7 if busy else 22) * 2**30},
        {"uuid": "GPU-1", "utilization": round(48 + 8 * math.sin(ago / 700)) if morning else 0, "memory_free": (14 if morning else 23) * 2**30},
    ]  # fmt: skip


def _picture(folder: Path) -> bytes:
    path = folder / "picture.png"
    source = "mandelbrot=size=512x512:start_scale=0.3"
    subprocess.run(["ffmpeg", "-v", "error", "-f", "lavfi", "-i", source, "-frames:v", "1", path], check=True)
    return path.read_bytes()


def _submit(client: AITBCClient, agent: Agent, rig: Rig, folder: Path) -> dict[str, str]:
    """Submit jobs in all states. Returns their ids by name."""
    own: Any = {"miner_id": agent.file["miner_id"]}
    rack: Any = {"miner_id": rig.miner_id}
    services = client.services

    def program(name: str, source: str, **fields: Any) -> Any:
        model = {"entrypoint": "model.py", "source": {"inline": source}}
        return client.jobs.create({"name": name, "type": "ai_inference", "model": model, **own, **fields})

    speech = make_speech(folder / "meeting.wav", " ".join(SPEECH))
    video = make_video(folder / "rushes.mov", seconds=4)
    scene = make_scene(folder / "scene.blend")
    render: Any = {"engine": "cycles", "resolution_x": 320, "resolution_y": 180, **own}
    jobs = {
        "transcript": services.transcribe(speech, model="tiny.en", name="Weekly meeting", **rack),
        "film": services.render(scene, name="Opening shot", samples=8, frames="1-3", **render),
        "video": services.transcode(video, output_format="webm", resolution="320x180", name="Rushes for the web", **own),
        "images": services.generate("A lighthouse in a storm, oil on canvas", model="stable-diffusion-1.5", size="512x512", steps=20, name="Lighthouse", **rack),
        "answer": services.infer("Name the capital of France.", model="smollm2-135m-instruct", **rack),
        "program": program("Holiday pictures", CLASSIFIER, labels={"project": "album", "year": "2026"}),
        "failed": program("Broken classifier", BROKEN),
    }  # fmt: skip
    for index in range(24):
        services.infer(f"Summarise page {index + 1} of the contract.", model="smollm2-135m-instruct", **rack)
    for job in jobs.values():
        with suppress(JobFailed):
            client.jobs.wait(job["job_id"], timeout=JOB_SECONDS)
    jobs["running"] = services.render(scene, name="Title sequence", samples=256, frames="1-120", **render)
    jobs["waiting"] = program("Nightly training", SLOW, pricing={"max_cost": "0.5"})
    jobs["cancelled"] = program("Never mind", SLOW)
    client.jobs.cancel(jobs["cancelled"]["job_id"])
    return {name: str(job["job_id"]) for name, job in jobs.items()}


def _accounts(admin: httpx.Client) -> None:
    """Create accounts of other clients, with money and keys."""
    for name, amount in (("Northlight Studio", "250"), ("Radio Havel", "42.5"), ("lab-14", "0.75")):
        account = admin.post("/v1/admin/accounts", json={"name": name}).json()["account_id"]
        admin.post(f"/v1/admin/accounts/{account}/credit", json={"amount": amount}).raise_for_status()
        key = {"role": "client", "name": f"key of {name}", "account_id": account}
        admin.post("/v1/admin/keys", json=key).raise_for_status()
