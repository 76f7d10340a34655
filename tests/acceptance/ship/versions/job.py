"""A client of any version of the Python SDK: transcodes a video, follows the job and the account's events, and verifies the receipt."""

import json
import sys
from pathlib import Path

from aitbc import AITBCClient, verify_bundle

base_url, key, video, output = sys.argv[1:]
with AITBCClient(api_key=key, base_url=base_url) as client:
    job_id = client.services.transcode(video, output_format="mp4", resolution="64x48").job_id
    states = [event.job.status for event in client.jobs.events(job_id) if event.job is not None]
    (file,) = client.jobs.get_results(job_id).output_files()
    client.artifacts.download(file.artifact_id, to=output)
    received = []
    for event in client.events(after=0):
        if event.data.get("job_id") == job_id:
            received.append(event.type)
            if event.type == "receipt_created":
                break
    log_key = client.health()["log_key"]
    verification = verify_bundle(client.receipts.export(job_id), log_key, artifacts={file.name: Path(output)})
    sys.stdout.write(
        json.dumps({"state": states[-1], "events": received, "failures": list(verification.failures)})
    )
