/** The services as links to their forms. */
import type { Service } from "@aitbc/client";
import { Icon, type IconName } from "../../components/icon.tsx";
import { money } from "../../format/money.ts";
import { serviceName, unitName } from "../../format/names.ts";
import { plural } from "../../format/size.ts";
import { BASE } from "../../routes.ts";

export const SERVICE_ICONS: Record<string, IconName> = {
  ai_inference: "code",
  blender_rendering: "model",
  image_generation: "image",
  llm_inference: "chat",
  text_embedding: "jobs",
  video_transcoding: "film",
  whisper_transcription: "sound",
};

/** A summary of each service; the service's page shows the registry's description. */
const SUMMARIES: Record<string, string> = {
  ai_inference: "Run your own Python function with the packages it needs.",
  blender_rendering: "Render frames of a .blend file, or an animation.",
  image_generation: "Generate images from text, or from text and an image.",
  llm_inference: "Ask an open language model, or chat with it.",
  text_embedding: "Turn texts into vectors for search and comparison.",
  video_transcoding: "Convert, resize or trim video and audio.",
  whisper_transcription: "Turn speech into text with timestamps, or into subtitles.",
};

export function ServiceTiles({ services, brief = false }: { services: Service[]; brief?: boolean }) {
  return (
    <ul class="tiles" data-brief={brief}>
      {services.map((service) => (
        <li key={service.serviceId}>
          <a class="tile" href={`${BASE}/new/${service.serviceId}`}>
            <Icon name={SERVICE_ICONS[service.serviceId] ?? "jobs"} />
            <span class="tile-text">
              <span class="tile-name">{serviceName(service.serviceId)}</span>
              {!brief && <span>{SUMMARIES[service.serviceId] ?? service.description}</span>}
              <span class="quiet small">{availability(service)}</span>
            </span>
          </a>
        </li>
      ))}
    </ul>
  );
}

export function availability(service: Service): string {
  if (service.minersOnline === 0) return "No miner is online; jobs wait until one is";
  const price = service.price ? `, from ${money(service.price.lowest)} per ${unitName(service.unit)}` : "";
  return `${plural(service.minersOnline, "miner")}${price}`;
}
