/** The dashboard: one page at a time inside the shell, or the login page if the browser lacks a key for the page. */

import { useEffect, useRef, useState } from "preact/hooks";
import { ErrorBoundary, LocationProvider, Route, Router, useLocation } from "preact-iso";
import { Button } from "./components/controls/button.tsx";
import { Empty } from "./components/empty.tsx";
import { Page } from "./components/page.tsx";
import { PageSkeleton } from "./components/skeleton.tsx";
import { complain } from "./components/toast.tsx";
import { PAGES } from "./pages.ts";
import { BASE, type PageEntry } from "./routes.ts";
import { type Role, resume, signInWithLink, useReady, useRoles } from "./session.ts";
import { Shell } from "./shell.tsx";
import { Login } from "./views/login.tsx";

export function App() {
  const signingIn = useLoginLink();
  const ready = useReady();
  useEffect(() => void resume(), []);
  return (
    <LocationProvider scope={BASE}>
      <Shell>{signingIn || !ready ? <PageSkeleton /> : <Pages />}</Shell>
    </LocationProvider>
  );
}

/** How long the page before stays while the next one loads. */
const MOMENT_MS = 150;

function Pages() {
  // While a page's script loads: at once for the first page, and for later ones unless it arrives within a moment.
  const [waiting, setWaiting] = useState(false);
  const timer = useRef<ReturnType<typeof setTimeout>>(undefined);
  const first = useRef(true);
  const begin = () => {
    clearTimeout(timer.current);
    if (first.current) setWaiting(true);
    else timer.current = setTimeout(() => setWaiting(true), MOMENT_MS);
  };
  const end = () => {
    clearTimeout(timer.current);
    first.current = false;
    setWaiting(false);
  };
  return (
    <ErrorBoundary onError={complain}>
      {waiting && <PageSkeleton />}
      {/* The router shows the page before until the next one is there. */}
      <div hidden={waiting}>
        <Router onRouteChange={() => window.scrollTo(0, 0)} onLoadStart={begin} onLoadEnd={end}>
          {PAGES.map((page) => (
            <Route key={page.path} path={BASE + page.path} component={guarded(page)} />
          ))}
          <Route default component={Missing} />
        </Router>
      </div>
    </ErrorBoundary>
  );
}

const guards = new Map<PageEntry, () => preact.JSX.Element>();

/** A page, or the login page while there is no key for it. Each page has one component, so that pages keep their state. */
function guarded(page: PageEntry) {
  const known = guards.get(page);
  if (known) return known;
  const View = page.view;
  const Guarded = () => {
    const roles = useRoles();
    return page.role && !roles.includes(page.role) ? <NoKey role={page.role} /> : <View />;
  };
  guards.set(page, Guarded);
  return Guarded;
}

/** The login page if there is no key; with a key of another role, that role's first page instead of the overview. */
function NoKey({ role }: { role: Role }) {
  const { path, route } = useLocation();
  const roles = useRoles();
  const home = PAGES.find((page) => page.nav && page.role && roles.includes(page.role));
  // The router drops trailing slashes.
  const elsewhere = home && path === BASE ? BASE + home.path : undefined;
  useEffect(() => {
    if (elsewhere) route(elsewhere, true);
  }, [elsewhere, route]);
  if (roles.length === 0) return <Login />;
  return elsewhere ? <PageSkeleton /> : <Login missing={role} />;
}

function Missing() {
  return (
    <Page title="Page not found">
      <Empty
        icon="info"
        title="This page does not exist"
        action={<Button href={`${BASE}/`}>Go to the overview</Button>}
      >
        The address may be mistyped or belong to another version of the dashboard.
      </Empty>
    </Page>
  );
}

/** Removes a token from the address (`#login=TOKEN`) and signs in with it. Returns whether sign-in is in progress. */
function useLoginLink(): boolean {
  const [token, setToken] = useState(tokenInAddress);
  useEffect(() => {
    const follow = () => setToken(tokenInAddress());
    addEventListener("hashchange", follow);
    return () => removeEventListener("hashchange", follow);
  }, []);
  useEffect(() => {
    if (token === null) return;
    // Removed first, so that the token does not stay in the browser's history.
    history.replaceState(null, "", location.pathname + location.search);
    signInWithLink(token)
      .catch(complain)
      .finally(() => setToken(null));
  }, [token]);
  return token !== null;
}

function tokenInAddress(): string | null {
  return new URLSearchParams(location.hash.slice(1)).get("login");
}
