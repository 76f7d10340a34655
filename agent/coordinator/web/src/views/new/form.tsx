/** The form of a service, generated from its schema in the registry. */
import type { ServiceDetails } from "@aitbc/client";
import { useRef, useState } from "preact/hooks";
import { useLocation, useRoute } from "preact-iso";
import { Button } from "../../components/controls/button.tsx";
import type { Option } from "../../components/controls/field.tsx";
import { Loaded } from "../../components/loaded.tsx";
import { Notice } from "../../components/notice.tsx";
import { Page } from "../../components/page.tsx";
import { Skeleton } from "../../components/skeleton.tsx";
import { complain } from "../../components/toast.tsx";
import { serviceName } from "../../format/names.ts";
import { useLoad } from "../../load.ts";
import { BASE } from "../../routes.ts";
import { firstFile } from "../../schema/estimate.ts";
import { type FormField, fieldsOf, type JsonSchema, requestOf } from "../../schema/fields.ts";
import { publicApi } from "../../session.ts";
import { Control } from "./control.tsx";
import { type Draft, useDraft } from "./draft.ts";
import { useMedia } from "./media.ts";
import { JOB_OPTIONS, MAX_COST } from "./options.ts";
import { Price } from "./price.tsx";
import { submitForm } from "./submit.ts";
import { availability } from "./tiles.tsx";

export default function NewJob() {
  const serviceId = useRoute().params.service ?? "";
  const service = useLoad(
    async (signal) => {
      const { registry } = publicApi();
      const [details, schema] = await Promise.all([
        registry.service(serviceId, { signal }),
        registry.schema(serviceId, { signal }),
      ]);
      return { details, fields: fieldsOf(schema as JsonSchema) };
    },
    [serviceId],
  );
  return (
    <Page
      title={serviceName(serviceId)}
      back={{ href: `${BASE}/new`, name: "New job" }}
      lead={service.data?.details.description}
      actions={
        serviceId === "llm_inference" && (
          <Button href={`${BASE}/chat`} icon="chat">
            Chat instead
          </Button>
        )
      }
    >
      <Loaded from={service} skeleton={<Skeleton lines={8} height="3rem" />}>
        {({ details, fields }) => <ServiceForm key={details.serviceId} service={details} fields={fields} />}
      </Loaded>
    </Page>
  );
}

function ServiceForm({ service, fields }: { service: ServiceDetails; fields: FormField[] }) {
  const { query } = useRoute();
  const { route } = useLocation();
  const form = useRef<HTMLFormElement>(null);
  const own = new Set(fields.map((field) => field.name));
  const options = JOB_OPTIONS.filter((option) => !own.has(option.name));
  const all = [...fields, ...options];
  const draft = useDraft(service.serviceId, all, startingValues(service, fields));
  const [progress, setProgress] = useState<Record<string, number>>({});
  const [busy, setBusy] = useState(false);
  const request = requestOf(all, draft.values);
  const media = useMedia(firstFile(draft.values));

  const submit = async (event: Event) => {
    event.preventDefault();
    if (busy) return;
    setBusy(true);
    try {
      if (!(await draft.validate())) return showError(form.current);
      const onProgress = (name: string, percent: number) =>
        setProgress((progress) => ({ ...progress, [name]: percent }));
      const job = await submitForm(service, all, draft.values, { offerId: query.offer, onProgress });
      route(`${BASE}/jobs/${job.jobId}`);
    } catch (error) {
      if (draft.refuse(error)) showError(form.current);
      else complain(error);
      setProgress({});
    } finally {
      setBusy(false);
    }
  };
  const shared = { draft, models: modelOptions(service), progress };
  return (
    <form class="form-columns" ref={form} onSubmit={submit} noValidate>
      <div class="card">
        {draft.warnings.service_id && <Notice tone="wait">{draft.warnings.service_id}</Notice>}
        {query.offer && (
          <Notice tone="busy" title="Job for an offer">
            The miner of the offer that you chose runs the job at the offer's price.
          </Notice>
        )}
        <Fields {...shared} fields={fields.filter((field) => !field.advanced)} />
        <Fold title="More settings" {...shared} fields={fields.filter((field) => field.advanced)} />
        <Fold title="Job options" {...shared} fields={options.filter((field) => field !== MAX_COST)} />
      </div>
      <aside class="card form-side" aria-label="Price">
        <Price service={service} request={request} media={media} />
        <Fields {...shared} fields={[MAX_COST]} />
        <Button type="submit" kind="main" busy={busy}>
          Submit job
        </Button>
        <p class="small quiet">{availability(service)}</p>
      </aside>
    </form>
  );
}

interface FieldsProps {
  fields: FormField[];
  draft: Draft;
  models: Option[];
  progress: Record<string, number>;
}

function Fields({ fields, draft, models, progress }: FieldsProps) {
  return (
    <div class="form-fields">
      {fields.map((field) => (
        <Control
          key={field.name}
          field={field}
          value={draft.values[field.name]}
          onInput={(value) => draft.set(field.name, value)}
          error={draft.errors[field.name]}
          warning={draft.warnings[field.name]}
          models={models}
          progress={progress[field.name]}
        />
      ))}
    </div>
  );
}

/** Collapsed fields, expanded if one of them has an error. */
function Fold({ title, ...props }: FieldsProps & { title: string }) {
  if (props.fields.length === 0) return null;
  const invalid = props.fields.some((field) => props.draft.errors[field.name]);
  return (
    <details class="fold" open={invalid || undefined}>
      <summary>{title}</summary>
      <Fields {...props} />
    </details>
  );
}

/** Return the models, those on an online miner first. */
function modelOptions({ models, ready }: ServiceDetails): Option[] {
  const available = new Set(ready);
  return [
    ...models
      .filter((model) => available.has(model))
      .map((model) => ({ value: model, label: model, group: "Available now" })),
    ...models
      .filter((model) => !available.has(model))
      .map((model) => ({ value: model, label: model, group: "Not on any online miner" })),
  ];
}

/** Preselect a model on an online miner, unless the service's default is one. */
function startingValues({ ready, models }: ServiceDetails, fields: FormField[]): Record<string, unknown> {
  const field = fields.find((field) => field.kind === "model");
  if (!field || ready.includes(String(field.default))) return {};
  const first = models.find((model) => ready.includes(model));
  return first ? { [field.name]: first } : {};
}

/** Scroll to the first invalid field and focus it, once the errors are rendered. */
function showError(form: HTMLFormElement | null): void {
  requestAnimationFrame(() => {
    const invalid = form?.querySelector<HTMLElement>("[aria-invalid=true]");
    invalid?.scrollIntoView({ block: "center" });
    invalid?.focus();
  });
}
