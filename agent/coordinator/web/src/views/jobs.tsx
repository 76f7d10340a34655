/** The list of jobs, with filters in the address, live updates and pages. */
import type { JobState } from "@aitbc/client";
import { useEffect, useState } from "preact/hooks";
import { Button } from "../components/controls/button.tsx";
import { SelectField, TextField } from "../components/controls/field.tsx";
import { Pager } from "../components/controls/pager.tsx";
import { Segments } from "../components/controls/segments.tsx";
import { Empty } from "../components/empty.tsx";
import { Loaded } from "../components/loaded.tsx";
import { Page } from "../components/page.tsx";
import { ServiceFilter } from "../components/service-filter.tsx";
import { type Filters, useFilters } from "../filters.ts";
import { filteredBy, STATE_OPTIONS, STATES, stateName } from "../format/jobs.ts";
import { serviceName } from "../format/names.ts";
import { count } from "../format/size.ts";
import { useJobList } from "../jobs.ts";
import { useLoad } from "../load.ts";
import { BASE } from "../routes.ts";
import { api } from "../session.ts";
import { JobTable } from "./job_table.tsx";

const PAGE = 25;

export default function Jobs() {
  const [filters, setFilters] = useFilters();
  const { type, name, label } = filters;
  const status = STATES.find((state) => state === filters.status);
  const offset = Math.max(0, Number.parseInt(filters.offset ?? "0", 10) || 0);
  const list = useJobList({ status, type, name, label, limit: PAGE, offset });
  const criteria = [
    stateName(status),
    type && serviceName(type),
    name && `named \u201c${name}\u201d`,
    label && `labelled ${label.replace(":", ": ")}`,
  ];
  // Another filter has other pages.
  const filter = (change: Filters) => setFilters({ ...change, offset: undefined });
  return (
    <Page
      title="Jobs"
      lead={
        list.data ? (
          <>
            {filteredBy(list.data.total, criteria)}, newest first.{" "}
            {criteria.some(Boolean) && <a href={`${BASE}/jobs`}>Show all jobs</a>}
          </>
        ) : (
          "Newest first."
        )
      }
    >
      <FilterBar status={status} filters={filters} onChange={filter} />
      <Loaded from={list} lines={8} height="2.75rem">
        {({ jobs, total }) =>
          jobs.length > 0 ? (
            <>
              <JobTable jobs={jobs} />
              <Pager
                size={PAGE}
                offset={offset}
                total={total}
                onTurn={(offset) => setFilters({ offset: offset ? String(offset) : undefined })}
              />
            </>
          ) : (
            <NoJobs filtered={Boolean(status || type || name || label || offset)} />
          )
        }
      </Loaded>
    </Page>
  );
}

interface FilterBarProps {
  status: JobState | undefined;
  filters: Filters;
  onChange: (change: Filters) => void;
}

function FilterBar({ status, filters: { type = "", name = "", label = "" }, onChange }: FilterBarProps) {
  const labels = useLoad(async (signal) => (await api("client").jobs.labels({ signal })).labels);
  const options = (labels.data ?? []).map(({ key, value, jobs }) => ({
    value: `${key}:${value}`,
    label: `${key}: ${value} (${count(jobs)})`,
  }));
  if (label && !options.some(({ value }) => value === label)) options.unshift({ value: label, label });
  return (
    <div class="filters">
      <Segments
        label="Status"
        value={status ?? ""}
        onInput={(status) => onChange({ status })}
        options={STATE_OPTIONS}
      />
      <div class="row">
        <Search text={name} onInput={(name) => onChange({ name })} />
        <ServiceFilter value={type} onInput={(type) => onChange({ type })} />
        {options.length > 0 && (
          <SelectField
            label="Label"
            quiet
            value={label}
            onInput={(label) => onChange({ label })}
            options={[{ value: "", label: "All labels" }, ...options]}
          />
        )}
      </div>
    </div>
  );
}

function Search({ text, onInput }: { text: string; onInput: (text: string) => void }) {
  const [typed, setTyped] = useState(text);
  useEffect(() => setTyped(text), [text]);
  return (
    <form
      class="row"
      onSubmit={(event) => {
        event.preventDefault();
        onInput(typed.trim());
      }}
    >
      <TextField
        label="Name"
        quiet
        value={typed}
        onInput={(typed) => {
          setTyped(typed);
          if (typed === "") onInput("");
        }}
        placeholder="interview.mp3"
      />
      <Button type="submit" size="small" disabled={typed.trim() === text}>
        Find
      </Button>
    </form>
  );
}

function NoJobs({ filtered }: { filtered: boolean }) {
  if (filtered) {
    return (
      <Empty
        icon="jobs"
        title="No job matches these filters"
        action={<Button href={`${BASE}/jobs`}>Remove the filters</Button>}
      >
        Try fewer of them.
      </Empty>
    );
  }
  return (
    <Empty
      icon="jobs"
      title="No jobs yet"
      action={
        <Button href={`${BASE}/new`} kind="main" icon="add">
          New job
        </Button>
      }
    >
      Transcribe a recording, generate an image, convert a video, render a scene, or run your own model.
    </Empty>
  );
}
