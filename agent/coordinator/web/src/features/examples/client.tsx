/** The examples of a client: what runs here now with one click, and for the rest what is missing. */
import type { CreatedJob } from "@aitbc/client";
import { useLocation } from "preact-iso";
import { Coded } from "../../components/coded.tsx";
import { Button } from "../../components/controls/button.tsx";
import { Copyable } from "../../components/controls/copyable.tsx";
import { Icon } from "../../components/icon.tsx";
import { serviceName } from "../../format/names.ts";
import { BASE } from "../../routes.ts";
import "../../styles/home.css";
import { api } from "../../session.ts";
import { SERVICE_ICONS } from "../../views/new/tiles.tsx";
import { EXAMPLES, type Example, type Lack, type Supplied, stateOf } from "./examples.ts";

export function Examples({ supplied }: { supplied: Supplied }) {
  const listed = EXAMPLES.map((example) => ({ example, ...stateOf(example, supplied) }));
  const able = listed.filter(({ lacks }) => !lacks);
  const unable = listed.filter(({ lacks }) => lacks);
  return (
    <>
      {able.length > 0 && (
        <ul class="examples">
          {able.map(({ example, model, note }) => (
            <li key={example.serviceId}>
              <Icon name={SERVICE_ICONS[example.serviceId] ?? "jobs"} />
              <span class="example-text">
                <strong>{example.title}</strong>
                <span class="quiet small">
                  {example.text} {note}
                </span>
              </span>
              <Try example={example} model={model} />
            </li>
          ))}
        </ul>
      )}
      {unable.length > 0 && (
        <details class="fold" open={able.length === 0}>
          <summary>
            {able.length === 0 ? "No service can run yet" : `Not available here: ${names(unable)}`}
          </summary>
          <ul class="examples">
            {unable.map(({ example, lacks }) => (
              <li key={example.serviceId}>
                <Icon name={SERVICE_ICONS[example.serviceId] ?? "jobs"} />
                <span class="example-text">
                  <strong>{serviceName(example.serviceId)}</strong>
                  {lacks && <Remedy {...lacks} />}
                </span>
              </li>
            ))}
          </ul>
        </details>
      )}
    </>
  );
}

function names(listed: { example: Example }[]): string {
  return listed.map(({ example }) => serviceName(example.serviceId).toLowerCase()).join(", ");
}

/** Upload the example's file, and submit its job. */
async function runExample(example: Example, model: string): Promise<CreatedJob> {
  const client = api("client");
  let address = "";
  if (example.file) {
    const response = await fetch(`${BASE}/examples/${example.file}`);
    if (!response.ok) throw new Error(`The example's file ${example.file} is not part of this installation.`);
    const { artifactId } = await client.artifacts.upload(new File([await response.blob()], example.file));
    address = `artifact:${artifactId}`;
  }
  const request = example.request(model, address);
  const { serviceId, route } = await client.registry.service(example.serviceId);
  return route
    ? client.services.call(route.replace("/v1/services/", ""), request)
    : client.jobs.create({ ...request, type: serviceId });
}

function Try({ example, model }: { example: Example; model: string }) {
  const { route } = useLocation();
  const run = async () => route(`${BASE}/jobs/${(await runExample(example, model)).jobId}`);
  return (
    <Button size="small" icon="play" onClick={run}>
      Try it
    </Button>
  );
}

function Remedy({ reason, command }: Lack) {
  return (
    <span class="small">
      <Coded text={reason} />
      {command && (
        <>
          {" "}
          <Copyable text={command} noun="command" />
        </>
      )}
    </span>
  );
}
