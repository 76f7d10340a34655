/**
 * The frame of every page: its title (also the window's), an introduction, its buttons.
 *
 *   <Page title="Jobs" lead="Your jobs, newest first." actions={<Button href="/dashboard/new" kind="main">New job</Button>}>
 *     ...
 *   </Page>
 *
 * `back` leads to the page above; `narrow` is for forms and text.
 */
import type { ComponentChildren } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { Icon } from "./icon.tsx";

export interface PageProps {
  title: string;
  lead?: ComponentChildren;
  actions?: ComponentChildren;
  back?: { href: string; name: string };
  narrow?: boolean;
  children: ComponentChildren;
}

// The first page leaves the focus where the browser put it. Later pages move it to their heading, as a page load would.
let visited = false;

export function Page({ title, lead, actions, back, narrow = false, children }: PageProps) {
  const heading = useRef<HTMLHeadingElement>(null);
  useEffect(() => {
    if (visited) heading.current?.focus({ preventScroll: true });
    visited = true;
  }, []);
  useEffect(() => {
    document.title = `${title} - AITBC`;
  }, [title]);
  return (
    <div class="page" data-width={narrow ? "narrow" : undefined}>
      <header class="page-head">
        <div class="page-head-text">
          {back && (
            <a class="page-head-back" href={back.href}>
              <Icon name="back" />
              {back.name}
            </a>
          )}
          <h1 ref={heading} tabIndex={-1}>
            {title}
          </h1>
          {lead && <p class="page-head-lead">{lead}</p>}
        </div>
        <div class="page-head-actions">{actions}</div>
      </header>
      {children}
    </div>
  );
}
