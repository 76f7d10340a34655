/** The actions of the command menu. */
import type { Job } from "@aitbc/client";
import { useMemo } from "preact/hooks";
import { copy } from "../components/controls/copyable.tsx";
import type { IconName } from "../components/icon.tsx";
import { notify } from "../components/toast.tsx";
import { jobTitle } from "../format/jobs.ts";
import { serviceName } from "../format/names.ts";
import { useLoad } from "../load.ts";
import { BASE } from "../routes.ts";
import { api, publicApi, signOut, useRoles } from "../session.ts";
import { setTheme } from "../theme.ts";
import { opened } from "./opened.ts";

export interface Command {
  id: string;
  text: string;
  /** Shown beside the text: an area, "Action", "Job". */
  kind: string;
  icon: IconName;
  /** The letter after `g`. */
  letter?: string | undefined;
  /** Further words by which it is found. */
  words?: string;
  run: () => unknown;
}

type Route = (address: string) => void;

function action(text: string, icon: IconName, run: () => unknown, words = ""): Command {
  return { id: text, text, kind: "Action", icon, words, run };
}

/** Return the actions of the page with this address, and those of all pages. */
export function actionsFor(path: string): { here: Command[]; always: Command[] } {
  const job = /\/jobs\/(job_\w+)$/.exec(path)?.[1];
  return {
    here: job ? [action("Copy this job's id", "copy", () => copy(job, "job's id"))] : [],
    always: [
      action("Colours: light", "sun", () => setTheme("light"), "theme"),
      action("Colours: dark", "moon", () => setTheme("dark"), "theme"),
      action("Colours: system", "auto", () => setTheme("auto"), "theme"),
      action("Keyboard shortcuts", "help", () => {
        opened.value = "shortcuts";
      }),
      action("Sign out", "leave", signOut),
    ],
  };
}

export function commandOfJob(job: Job, route: Route): Command {
  return {
    id: job.jobId,
    text: jobTitle(job),
    kind: `Job, ${job.status === "submitted" ? "waiting" : job.status}`,
    icon: "jobs",
    words: job.jobId,
    run: () => route(`${BASE}/jobs/${job.jobId}`),
  };
}

/** A new job of each service. */
export function useServiceCommands(route: Route): Command[] {
  const isClient = useRoles().includes("client");
  const { data } = useLoad((signal) => publicApi().registry.services({ signal }));
  return useMemo(() => {
    const services = isClient ? (data?.services ?? []) : [];
    return services.map(({ serviceId }) =>
      action(`New job: ${serviceName(serviceId)}`, "add", () => route(`${BASE}/new/${serviceId}`)),
    );
  }, [data, isClient]);
}

/** Pause or resume the owner's newest machine. */
export function useMachineCommands(): Command[] {
  const isOwner = useRoles().includes("miner");
  const machines = useLoad(
    async (signal) => (isOwner ? (await api("miner").miners.list({ limit: 1, signal })).miners : []),
    [isOwner],
  );
  return useMemo(
    () =>
      (machines.data ?? []).map(({ minerId, name, paused }): Command => {
        const { miners } = api("miner");
        const resume = () => miners.resume(minerId).then(() => notify(`${name} will accept jobs again.`));
        const pause = () =>
          miners.pause(minerId).then(() => notify(`${name} accepts no new jobs until you resume it.`));
        return paused
          ? action(`Resume ${name}`, "play", resume)
          : action(`Pause ${name}`, "pause", pause, "machine");
      }),
    [machines.data],
  );
}
