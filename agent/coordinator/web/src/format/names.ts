/** Formats ids and names. */
import { size } from "./size.ts";

const SERVICES: Record<string, string> = {
  ai_inference: "Python model",
  whisper_transcription: "Transcription",
  image_generation: "Image generation",
  llm_inference: "Language model",
  speech_synthesis: "Speech",
  text_embedding: "Embedding",
  text_reranking: "Reranking",
  video_transcoding: "Transcoding",
  blender_rendering: "Rendering",
};

/** Return a service's display name, derived from the id for an unknown service. */
export function serviceName(serviceId: string): string {
  return SERVICES[serviceId] ?? sentence(serviceId);
}

/** Format "num_images" as "Num images". */
export function sentence(name: string): string {
  const words = name.replaceAll("_", " ").trim();
  return words.charAt(0).toUpperCase() + words.slice(1);
}

/** Shorten an id but keep its end, which distinguishes ids: "job_06h1…nant0". */
export function shortId(id: string): string {
  return id.length <= 16 ? id : `${id.slice(0, id.indexOf("_") + 5)}\u2026${id.slice(-5)}`;
}

/** Format a memory size, which the API writes as a quantity ("4Gi") or a number of bytes. */
export function memory(quantity: string): string {
  return /^\d+$/.test(quantity) ? size(Number(quantity)) : quantity.replace(/([KMGTP]i?)$/, " $1B");
}

/** Format CPU as cores: "2000m" as "2". */
export function cores(quantity: string): string {
  return quantity.endsWith("m") ? String(Number(quantity.slice(0, -1)) / 1000) : quantity;
}
