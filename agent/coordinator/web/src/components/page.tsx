/**
 * The frame of every page: its title (also the window's), one line of introduction, its buttons, its tabs.
 *
 *   <Page title="Jobs" lead="Your jobs, newest first." actions={<Button href="/dashboard/new" kind="main">New job</Button>}>
 *     ...
 *   </Page>
 *
 * `back` leads to the page above; `narrow` is for forms and text; `tabs` are pages that share the title.
 */
import type { ComponentChildren } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { useLocation } from "preact-iso";
import { BASE, type TabLink } from "../routes.ts";
import { Icon } from "./icon.tsx";
import { TabLinks } from "./tabs.tsx";

export interface PageProps {
  title: string;
  lead?: ComponentChildren;
  actions?: ComponentChildren;
  back?: { href: string; name: string };
  narrow?: boolean;
  tabs?: TabLink[];
  children: ComponentChildren;
}

// The first page leaves the focus where the browser put it. Later pages move it to their heading, as a page load would.
let visited = false;

export function Page({ title, lead, actions, back, narrow = false, tabs, children }: PageProps) {
  const heading = useRef<HTMLHeadingElement>(null);
  useEffect(() => {
    if (visited) heading.current?.focus({ preventScroll: true });
    visited = true;
  }, []);
  const { path } = useLocation();
  // The first tab has the page's name.
  const tab = tabs?.slice(1).find((tab) => BASE + tab.path === path);
  useEffect(() => {
    document.title = `${tab ? `${tab.name} - ` : ""}${title} - AITBC`;
  }, [title, tab]);
  return (
    <div class="stack page" data-width={narrow ? "narrow" : undefined}>
      <header class="page-head">
        <div class="stack" data-gap="1">
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
        <div class="row page-head-actions">{actions}</div>
      </header>
      {tabs && <TabLinks label={`Pages of ${title}`} tabs={tabs} />}
      {children}
    </div>
  );
}
