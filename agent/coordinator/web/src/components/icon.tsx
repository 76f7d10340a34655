/**
 * Icons, drawn in the colour of the surrounding text. Screen readers ignore them and read the text beside them.
 *
 *   <Icon name="jobs" />
 */

const PATHS = {
  overview: "M4 13a8 8 0 1 1 16 0M12 13l4-4M4 18h16",
  jobs: "M4 6h16M4 12h16M4 18h10",
  add: "M12 5v14M5 12h14",
  chat: "M4 5h16v11H9l-5 4z",
  wallet: "M4 7h15v12H4zM4 7l11-3v3M15 13h4",
  market: "M4 10l2-5h12l2 5M5 10v9h14v-9M4 10a2.7 2.7 0 0 0 5.3 0a2.7 2.7 0 0 0 5.4 0a2.7 2.7 0 0 0 5.3 0",
  receipt: "M6 3h12v18l-3-2-3 2-3-2-3 2zM9 8h6M9 12h6",
  verify: "M6 3h12v18l-3-2-3 2-3-2-3 2zM9 11l2 2 4-4",
  machine: "M4 5h16v10H4zM9 19h6M12 15v4",
  gpu: "M3 7h18v9H3zM7 16v3M11 16v3M8 11.5a1.5 1.5 0 1 0 3 0a1.5 1.5 0 1 0-3 0M15 10h3M15 13h3",
  model: "M12 3l8 4.5v9L12 21l-8-4.5v-9zM12 12l8-4.5M12 12v9M12 12L4 7.5",
  earnings: "M4 19h16M7 15v-4M12 15V6M17 15v-7",
  people:
    "M9 11a3 3 0 1 0 0-6a3 3 0 0 0 0 6M3 20c0-4 2.5-6 6-6s6 2 6 6M16 5.5a3 3 0 0 1 0 5M17.5 14.5c2.3.8 3.5 2.7 3.5 5.5",
  key: "M8 16a4 4 0 1 0 0-8a4 4 0 0 0 0 8M12 12h9M18 12v4M15 12v2.5",
  log: "M12 4v4M6 20v-4M18 20v-4M12 8c0 4-6 4-6 8M12 8c0 4 6 4 6 8",
  settings: "M4 7h10M18 7h2M4 17h2M10 17h10M16 5v4M8 15v4",
  menu: "M4 6h16M4 12h16M4 18h16",
  close: "M6 6l12 12M18 6L6 18",
  check: "M5 12.5l4.5 4.5L19 7",
  cross: "M7 7l10 10M17 7L7 17",
  dash: "M6 12h12",
  wait: "M12 7v5l3 2M12 21a9 9 0 1 0 0-18a9 9 0 0 0 0 18",
  play: "M8 5l11 7-11 7z",
  pause: "M8 5v14M16 5v14",
  stop: "M6 6h12v12H6z",
  again: "M19 12a7 7 0 1 1-2-4.9M19 4v4h-4",
  trash: "M5 7h14M10 7V4h4v3M7 7l1 13h8l1-13",
  copy: "M9 9h11v11H9zM5 15H4V4h11v1",
  file: "M6 3h8l4 4v14H6zM14 3v4h4",
  upload: "M12 16V5M7 10l5-5 5 5M5 19h14",
  download: "M12 5v11M7 11l5 5 5-5M5 20h14",
  link: "M10 14a4 4 0 0 0 6 0l3-3a4 4 0 0 0-6-6l-1 1M14 10a4 4 0 0 0-6 0l-3 3a4 4 0 0 0 6 6l1-1",
  warn: "M12 4l9 16H3zM12 10v4M12 17v.1",
  info: "M12 21a9 9 0 1 0 0-18a9 9 0 0 0 0 18M12 11v5M12 8v.1",
  back: "M15 5l-7 7 7 7",
  forward: "M9 5l7 7-7 7",
  more: "M6 12v.1M12 12v.1M18 12v.1",
  sun: "M12 16a4 4 0 1 0 0-8a4 4 0 0 0 0 8M12 3v2M12 19v2M3 12h2M19 12h2M5.6 5.6L7 7M17 17l1.4 1.4M5.6 18.4L7 17M17 7l1.4-1.4",
  moon: "M20 14a8 8 0 0 1-10-10a8 8 0 1 0 10 10",
  auto: "M12 21a9 9 0 1 0 0-18a9 9 0 0 0 0 18M12 3v18M16 5.5v13M19.5 9v6",
  leave: "M10 4H5v16h5M9 12h11M16 8l4 4-4 4",
  spinner: "M12 4a8 8 0 1 0 8 8",
  image: "M4 5h16v14H4zM4 16l5-5 4 4 3-3 4 4M15 9v.1",
  sound: "M4 10v4M8 7v10M12 4v16M16 8v8M20 10v4",
  film: "M4 5h16v14H4zM4 9h16M4 15h16M9 5v4M15 5v4M9 15v4M15 15v4",
  text: "M5 6h14M5 11h14M5 16h9",
  code: "M8 7l-5 5 5 5M16 7l5 5-5 5",
} as const;

export type IconName = keyof typeof PATHS;

export function Icon({ name, class: className }: { name: IconName; class?: string }) {
  return (
    <svg
      class={className}
      viewBox="0 0 24 24"
      fill="none"
      stroke="currentColor"
      stroke-width="1.75"
      stroke-linecap="round"
      stroke-linejoin="round"
      aria-hidden="true"
    >
      <path d={PATHS[name]} />
    </svg>
  );
}

/** The product's logo: a verified receipt. */
export function Mark() {
  return (
    <svg viewBox="0 0 32 32" aria-hidden="true">
      <path fill="currentColor" d="M4 2h24v28l-4-3-4 3-4-3-4 3-4-3-4 3z" />
      <path
        fill="none"
        stroke="var(--paper)"
        stroke-width="3"
        stroke-linecap="round"
        stroke-linejoin="round"
        d="m10 14 4.5 4.5L22.5 10"
      />
    </svg>
  );
}
