/**
 * The examples: a small real job for each service. Their files come with the dashboard (public/examples), made by
 * scripts/demonstration/example_files.py.
 */
import type { JsonObject, MinerDetails, ServiceSupply } from "@aitbc/client";

export interface Example {
  serviceId: string;
  /** What one does with it. */
  title: string;
  /** What happens. */
  text: string;
  /** The name of its file. */
  file?: string;
  /** Models that are small and good enough, best first; a machine that has another one uses that. */
  models?: string[];
  /** Return the request for the model, with the address of the uploaded file. */
  request: (model: string, file: string) => JsonObject;
}

export const EXAMPLES: Example[] = [
  {
    serviceId: "whisper_transcription",
    title: "Write down a recording",
    text: "Six seconds of speech become text.",
    file: "speech.mp3",
    models: ["base.en", "base", "tiny.en", "tiny"],
    request: (model, file) => ({ audio_url: file, model }),
  },
  {
    serviceId: "llm_inference",
    title: "Ask a language model",
    text: "\u201cWhat is the capital of France?\u201d",
    models: [
      "qwen2.5-1.5b-instruct",
      "qwen2.5-0.5b-instruct",
      "smollm2-1.7b-instruct",
      "smollm2-135m-instruct",
    ],
    request: (model) => ({ model, prompt: "What is the capital of France?", max_tokens: 64, temperature: 0 }),
  },
  {
    serviceId: "image_generation",
    title: "Paint a picture",
    text: "A lighthouse at dusk, in watercolour.",
    models: ["sdxl-turbo", "stable-diffusion-1.5"],
    request: (model) => ({ model, prompt: "a lighthouse at dusk, waves on the rocks, watercolour", seed: 7 }),
  },
  {
    serviceId: "video_transcoding",
    title: "Make a film smaller",
    text: "Three seconds of 640x360 become 320x180.",
    file: "film.mp4",
    request: (_, file) => ({ input_url: file, output_format: "mp4", codec: "h264", resolution: "320x180" }),
  },
  {
    serviceId: "blender_rendering",
    title: "Render a scene",
    text: "Five solids under a soft lamp, 480x270.",
    file: "scene.blend",
    request: (_, file) => ({
      blend_file_url: file,
      engine: "cycles",
      resolution_x: 480,
      resolution_y: 270,
      samples: 16,
    }),
  },
  {
    serviceId: "ai_inference",
    title: "Run a Python program",
    text: "Forty lines draw the Mandelbrot set.",
    file: "mandelbrot.py",
    request: (_, file) => ({ model: { entrypoint: "mandelbrot.py", source: file, deterministic: true } }),
  },
  {
    serviceId: "speech_synthesis",
    title: "Read a text aloud",
    text: "A voice reads two sentences about a harbour.",
    models: ["kokoro-82m", "piper-en-us-joe"],
    request: (model) => ({
      model,
      input: "The harbour is quiet tonight. No ship has left the port.",
    }),
  },
  {
    serviceId: "text_embedding",
    title: "Compare sentences",
    text: "Three sentences become vectors.",
    models: ["all-minilm-l6-v2"],
    request: (model) => ({
      model,
      input: ["The harbour is quiet tonight.", "No ship has left the port.", "My printer is out of paper."],
    }),
  },
  {
    serviceId: "text_reranking",
    title: "Find the best answer",
    text: "Three texts are sorted by a question.",
    models: ["bge-reranker-v2-m3", "jina-reranker-v1-tiny-en"],
    request: (model) => ({
      model,
      query: "Why does bread rise?",
      documents: [
        "Yeast makes gas in the dough.",
        "Bread is sold in the market.",
        "The sun rises in the east.",
      ],
    }),
  },
];

export interface ChosenModel {
  name: string;
  /** A machine has it on disk; otherwise, one downloads it first. */
  ready: boolean;
}

/** Return the model for an example as the market is now, or undefined if no machine has one or would download a small one. */
export function modelFor(
  { models = [] }: Example,
  { models: supplied }: ServiceSupply,
): ChosenModel | undefined {
  const ready = supplied.filter(({ available }) => available).map(({ name }) => name);
  const name = models.find((name) => ready.includes(name)) ?? ready[0];
  if (name) return { name, ready: true };
  // In reverse, since the last one is the smallest.
  const fetched = models.findLast((name) =>
    supplied.some((model) => model.name === name && model.downloadable),
  );
  return fetched ? { name: fetched, ready: false } : undefined;
}

export interface Supplied {
  services: ServiceSupply[];
  /** The machine of this session's owner, if it has one. */
  machine: MinerDetails | undefined;
}

export interface Lack {
  reason: string;
  /** What to type on the machine. */
  command?: string | undefined;
}

interface State {
  model: string;
  /** Something to know before. */
  note?: string;
  /** Why it cannot run. */
  lacks?: Lack;
}

/** Return whether an example can run now. */
export function stateOf(example: Example, { services, machine }: Supplied): State {
  const supply = services.find(({ serviceId }) => serviceId === example.serviceId);
  if (!supply) return { model: "", lacks: { reason: "This coordinator does not know the service." } };
  if (supply.miners === 0) return { model: "", lacks: lack(supply, services, machine) };
  if (!example.models) return { model: "" };
  const model = modelFor(example, supply);
  if (!model) {
    const [name = ""] = example.models.slice(-1);
    const reason = "No machine that is online has a model for it. Get one:";
    return { model: "", lacks: { reason, command: machine && `aitbc-agent models fetch ${name}` } };
  }
  return { model: model.name, ...(model.ready ? {} : { note: `A machine downloads ${model.name} first.` }) };
}

function lack(
  { serviceId }: ServiceSupply,
  services: ServiceSupply[],
  machine: MinerDetails | undefined,
): Lack {
  if (machine && !machine.online) {
    return { reason: "Your machine is offline. Start it:", command: "aitbc-agent start" };
  }
  if (machine?.paused) return { reason: `Your machine accepts no jobs: ${machine.paused}` };
  const reasons = machine?.unavailable[serviceId] ?? [];
  const remedies = reasons.map(parted);
  const best = remedies.find(({ command }) => command) ?? remedies[0];
  if (best) return best;
  const anyone = services.some(({ miners }) => miners > 0);
  return {
    reason: anyone
      ? "No machine that is online offers it. A job waits until one does."
      : "No machine is online. A job waits until one is.",
  };
}

/** Split a machine's reason from the command at its end, which follows a colon: "... Install it: aitbc-agent engines install blender." */
export function parted(text: string): Lack {
  const [, reason, command] =
    /^(.*\b(?:it|them|one):) ((?:aitbc-agent|\/\S+|pip|uv|pipx|sudo|apt(?:-get)?) .+?)\.?$/s.exec(text) ?? [];
  return reason ? { reason, command: command?.replaceAll("`", "") } : { reason: text };
}
