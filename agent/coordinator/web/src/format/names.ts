/** Ids and names as people read them. */

const SERVICES: Record<string, string> = {
  ai_inference: "Python model",
  whisper_transcription: "Transcription",
  image_generation: "Image generation",
  llm_inference: "Language model",
  video_transcoding: "Transcoding",
  blender_rendering: "Rendering",
};

/** A service's name; one that the dashboard does not know is made readable. */
export function serviceName(serviceId: string): string {
  return SERVICES[serviceId] ?? sentence(serviceId);
}

/** "num_images" as "Num images". */
export function sentence(name: string): string {
  const words = name.replaceAll("_", " ").trim();
  return words.charAt(0).toUpperCase() + words.slice(1);
}

/** The end of an id, which tells ids of one kind apart: "job_06h1...vv0" */
export function shortId(id: string): string {
  return id.length <= 16 ? id : `${id.slice(0, id.indexOf("_") + 5)}\u2026${id.slice(-5)}`;
}

/** Units carry explanations in brackets; beside a number the unit alone is enough: "97 tokens", "1 audio second". */
export function units(amount: string | number, unit: string): string {
  return `${amount} ${unitName(unit)}${Number(amount) === 1 ? "" : "s"}`;
}

export function unitName(unit: string): string {
  return unit.replace(/ \(.*\)$/, "");
}
