/** The services as links to their forms. */
import type { Service } from "@aitbc/client";
import { Icon, type IconName } from "../../components/icon.tsx";
import { serviceName } from "../../format/names.ts";
import { BASE } from "../../routes.ts";
import { Availability } from "./availability.tsx";

export const SERVICE_ICONS: Record<string, IconName> = {
  ai_inference: "code",
  blender_rendering: "model",
  image_generation: "image",
  llm_inference: "chat",
  speech_synthesis: "sound",
  text_embedding: "jobs",
  text_reranking: "jobs",
  video_transcoding: "film",
  whisper_transcription: "sound",
};

/** A summary of each service; the service's page shows the registry's description. */
const SUMMARIES: Record<string, string> = {
  ai_inference: "Run your own Python function with the packages it needs.",
  blender_rendering: "Render pictures or an animation from a Blender file.",
  image_generation: "Generate images from text, or from text and an image.",
  llm_inference: "Ask an open language model, or chat with it.",
  speech_synthesis: "Have a text read aloud, with the voice of your choice.",
  text_embedding: "Turn texts into numbers, so that a program can find similar ones.",
  text_reranking: "Sort texts by how well they answer a question.",
  video_transcoding: "Convert, resize or trim video and audio.",
  whisper_transcription: "Turn speech into text with times, or into subtitles.",
};

export function ServiceTiles({ services, brief = false }: { services: Service[]; brief?: boolean }) {
  return (
    <ul class="tiles" data-brief={brief}>
      {services.map((service) => (
        <li key={service.serviceId}>
          <a class="tile" href={`${BASE}/new/${service.serviceId}`}>
            <Icon name={SERVICE_ICONS[service.serviceId] ?? "jobs"} />
            <span class="stack tile-text">
              <span class="tile-name">{serviceName(service.serviceId)}</span>
              {!brief && <span>{SUMMARIES[service.serviceId] ?? service.description}</span>}
              <span class="quiet small">
                <Availability service={service} among={services} />
              </span>
            </span>
          </a>
        </li>
      ))}
    </ul>
  );
}
