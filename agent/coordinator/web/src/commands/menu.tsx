/** The command menu (pages, jobs and actions by name), and the list of shortcuts. */
import type { Job } from "@aitbc/client";
import type { ComponentChildren } from "preact";
import { useEffect, useId, useMemo, useRef, useState } from "preact/hooks";
import { useLocation } from "preact-iso";
import { Dialog } from "../components/controls/dialog.tsx";
import { Icon } from "../components/icon.tsx";
import { complain } from "../components/toast.tsx";
import { useLoad } from "../load.ts";
import { AREAS, areaOf, BASE } from "../routes.ts";
import { api, useRoles } from "../session.ts";
import { actionsFor, type Command, commandOfJob, useMachineCommands, useServiceCommands } from "./actions.ts";
import { matching } from "./match.ts";
import { opened, pagesFor, SHORTCUT } from "./opened.ts";

/** Jobs that the menu searches by name; any job is found by its whole id or its whole name. */
const NEWEST_JOBS = 200;
/** Jobs in the list before anything is typed. */
const RECENT_JOBS = 5;
const MOST = 40;
const TYPING_MS = 200;

const close = () => {
  opened.value = null;
};

export default function Menu({ show }: { show: "menu" | "shortcuts" }) {
  return show === "menu" ? <CommandMenu /> : <Shortcuts />;
}

function CommandMenu() {
  const dialog = useRef<HTMLDialogElement>(null);
  const list = useRef<HTMLDivElement>(null);
  const id = useId();
  const [query, setQuery] = useState("");
  const [chosen, setChosen] = useState(0);
  const commands = useCommands(query);
  const current = Math.min(chosen, commands.length - 1);
  useEffect(() => dialog.current?.showModal(), []);
  useEffect(
    () => list.current?.querySelector("[aria-selected=true]")?.scrollIntoView({ block: "nearest" }),
    [current, commands],
  );
  const run = (command: Command | undefined) => {
    if (!command) return;
    // First, so that the focus returns before a page or another dialog takes it.
    dialog.current?.close();
    Promise.resolve(command.run()).catch(complain);
  };
  const press = (event: KeyboardEvent) => {
    const steps: Record<string, number> = { ArrowDown: 1, ArrowUp: -1, PageDown: 8, PageUp: -8 };
    const step = steps[event.key];
    if (step !== undefined) setChosen(Math.max(0, Math.min(commands.length - 1, current + step)));
    else if (event.key === "Enter" && !event.isComposing) run(commands[current]);
    else return;
    event.preventDefault();
  };
  return (
    // biome-ignore lint/a11y/useKeyWithClickEvents: Escape closes a dialog anyway
    <dialog
      class="commands"
      ref={dialog}
      aria-label="Search and commands"
      onClose={close}
      onClick={(event) => event.target === event.currentTarget && event.currentTarget.close()}
    >
      <div class="commands-field">
        <Icon name="search" />
        <input
          type="text"
          role="combobox"
          aria-label="Search pages, jobs and actions"
          aria-expanded="true"
          aria-controls={id}
          aria-autocomplete="list"
          aria-activedescendant={commands[current] && `${id}-${current}`}
          placeholder="Search pages, jobs and actions"
          autocomplete="off"
          spellcheck={false}
          value={query}
          onKeyDown={press}
          onInput={(event) => {
            setQuery(event.currentTarget.value);
            setChosen(0);
          }}
        />
      </div>
      <div class="commands-list" id={id} ref={list} role="listbox" aria-label="Results">
        {commands.map((command, index) => (
          // biome-ignore lint/a11y/useKeyWithClickEvents: the keys are those of the field, which keeps the focus
          // biome-ignore lint/a11y/useFocusableInteractive: the same
          <div
            key={command.id}
            id={`${id}-${index}`}
            role="option"
            aria-selected={index === current}
            onMouseMove={() => setChosen(index)}
            onClick={() => run(command)}
          >
            <Icon name={command.icon} />
            <span>{command.text}</span>
            <span class="commands-kind">{command.kind}</span>
            {command.letter && <Keys keys={["g", command.letter]} />}
          </div>
        ))}
      </div>
      <p class="commands-foot" role="status">
        {commands.length === 0
          ? `Nothing found. The search knows your newest ${NEWEST_JOBS} jobs by a part of their name, and all others by their whole name or id.`
          : ""}
      </p>
    </dialog>
  );
}

function Keys({ keys }: { keys: string[] }) {
  return (
    <span class="keys" aria-hidden="true">
      {keys.map((key) => (
        <kbd key={key}>{key}</kbd>
      ))}
    </span>
  );
}

/** Return the commands for a query, best first; without one, those of the page, then pages, jobs and actions. */
function useCommands(query: string): Command[] {
  const { path, route } = useLocation();
  const roles = useRoles();
  const jobs = useJobs(query);
  const services = useServiceCommands(route);
  const machine = useMachineCommands();
  return useMemo(() => {
    const pages = pagesFor(roles, areaOf(path, roles)).map(
      (page): Command => ({
        id: page.path,
        text: page.nav?.name ?? page.path,
        kind: AREAS[page.area].name,
        icon: page.nav?.icon ?? "forward",
        letter: page.nav?.letter,
        run: () => route(BASE + page.path),
      }),
    );
    const { here, always } = actionsFor(path);
    const found = jobs.map((job) => commandOfJob(job, route));
    const all = [...here, ...machine, ...pages, ...services, ...always];
    if (query.trim() === "") return [...here, ...found.slice(0, RECENT_JOBS), ...all.slice(here.length)];
    return matching(query, [...all, ...found], (command) => `${command.text} ${command.words ?? ""}`).slice(
      0,
      MOST,
    );
  }, [query, path, roles, jobs, services, machine]);
}

/** The newest jobs, and those whose whole name or id was typed. */
function useJobs(query: string): Job[] {
  const isClient = useRoles().includes("client");
  const newest = useLoad(
    async (signal) => (isClient ? (await api("client").jobs.list({ limit: NEWEST_JOBS, signal })).jobs : []),
    [isClient],
  );
  const typed = query.trim();
  const named = useLoad(
    async (signal) => {
      if (!isClient || typed === "") return [];
      // Until the typing ends.
      await new Promise((resolve) => setTimeout(resolve, TYPING_MS));
      if (signal.aborted) return [];
      const { jobs } = api("client");
      if (/^job_\w+$/.test(typed))
        return jobs.get(typed, { signal }).then(
          (job) => [job],
          () => [],
        );
      return (await jobs.list({ name: typed, limit: RECENT_JOBS, signal })).jobs;
    },
    [typed, isClient],
  );
  return useMemo(() => {
    const known = newest.data ?? [];
    const ids = new Set(known.map((job) => job.jobId));
    return [...known, ...(named.data ?? []).filter((job) => !ids.has(job.jobId))];
  }, [newest.data, named.data]);
}

/** All shortcuts. */
function Shortcuts() {
  const { path } = useLocation();
  const roles = useRoles();
  const here = areaOf(path, roles);
  const pages = pagesFor(roles, here).filter((page) => page.area === here && page.nav?.letter);
  return (
    <Dialog title="Keyboard shortcuts" open onClose={close}>
      <dl class="shortcuts">
        <Row name="Search and commands" keys={[SHORTCUT]} />
        <Row name="Search on this page" keys={["/"]} />
        {roles.includes("client") && <Row name="New job" keys={["n"]} />}
        <Row name="These shortcuts" keys={["?"]} />
        {pages.map((page) => (
          <Row key={page.path} name={page.nav?.name} keys={["g", page.nav?.letter ?? ""]} />
        ))}
      </dl>
      <p class="quiet small">
        Letters work outside of text fields. Pages of the other areas have theirs, too.
      </p>
    </Dialog>
  );
}

function Row({ name, keys }: { name: ComponentChildren; keys: string[] }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd>
        {keys.map((key, index) => (
          <>
            {index > 0 && " then "}
            <kbd key={key}>{key}</kbd>
          </>
        ))}
      </dd>
    </div>
  );
}
