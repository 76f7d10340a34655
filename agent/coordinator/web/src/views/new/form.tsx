/** The form of a service, generated from its schema in the registry. */
import type { AuditPrice, JobDetails, JobReason, Service, ServiceDetails } from "@aitbc/client";
import { useRef, useState } from "preact/hooks";
import { useLocation, useRoute } from "preact-iso";
import { Button } from "../../components/controls/button.tsx";
import type { Option } from "../../components/controls/field.tsx";
import { Loaded } from "../../components/loaded.tsx";
import { Notice } from "../../components/notice.tsx";
import { Page } from "../../components/page.tsx";
import { complain } from "../../components/toast.tsx";
import { OPEN, SealField } from "../../features/sealing/job_form.tsx";
import { Reasons, reasonsIn } from "../../features/waits/parts.tsx";
import { serviceName } from "../../format/names.ts";
import { plural } from "../../format/size.ts";
import { useLoad } from "../../load.ts";
import { BASE } from "../../routes.ts";
import { firstFile } from "../../schema/estimate.ts";
import {
  type FormField,
  type FormValues,
  fieldsOf,
  isEmpty,
  type JsonSchema,
  requestOf,
  valuesOf,
} from "../../schema/fields.ts";
import { api, publicApi } from "../../session.ts";
import { requestFor } from "../job/request.ts";
import { Availability } from "./availability.tsx";
import { Control } from "./control.tsx";
import { type Draft, useDraft } from "./draft.ts";
import { useMedia } from "./media.ts";
import { AUDITED, JOB_OPTIONS, MAX_COST, NOT_SEALED } from "./options.ts";
import { Price } from "./price.tsx";
import { submitForm } from "./submit.ts";

export default function NewJob() {
  const { params, query } = useRoute();
  const serviceId = params.service ?? "";
  const service = useLoad(
    async (signal) => {
      const { registry } = publicApi();
      const [{ services }, details, schema, job] = await Promise.all([
        registry.services({ signal }),
        registry.service(serviceId, { signal }),
        registry.schema(serviceId, { signal }),
        query.from ? api("client").jobs.get(query.from, { signal }) : undefined,
      ]);
      const fields = fieldsOf(schema as JsonSchema);
      return { details, fields, earlier: job, services };
    },
    [serviceId, query.from],
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
      <Loaded from={service} lines={8} height="3rem">
        {({ details, ...rest }) => <ServiceForm key={details.serviceId} service={details} {...rest} />}
      </Loaded>
    </Page>
  );
}

interface ServiceFormProps {
  service: ServiceDetails;
  fields: FormField[];
  /** The job to run again with changes. */
  earlier: JobDetails | undefined;
  /** All services. */
  services: Service[];
}

function ServiceForm({ service, fields, earlier, services }: ServiceFormProps) {
  const { query } = useRoute();
  const { route } = useLocation();
  const form = useRef<HTMLFormElement>(null);
  const [seal, setSeal] = useState(OPEN);
  const all = jobFields(service, fields, seal.on);
  const start = { ...startingValues(service, fields), ...(earlier && valuesOf(all, requestFor(earlier))) };
  const draft = useDraft(service.serviceId, all, start, seal.on);
  const [progress, setProgress] = useState<Record<string, number>>({});
  const [busy, setBusy] = useState(false);
  const [refusal, setRefusal] = useState<JobReason[]>();
  const request = requestOf(all, draft.values);

  const sealedTo = seal.on ? seal.minerId : undefined;

  const submit = async (wait: boolean) => {
    if (busy) return;
    setBusy(true);
    setRefusal(undefined);
    try {
      if (!(await draft.validate())) return showError(form.current);
      const onProgress = (name: string, percent: number) =>
        setProgress((progress) => ({ ...progress, [name]: percent }));
      const job = await submitForm(service, all, draft.values, {
        offerId: query.offer,
        wait,
        earlier,
        sealedTo,
        onProgress,
      });
      route(`${BASE}/jobs/${job.jobId}`);
    } catch (error) {
      const reasons = reasonsIn(error);
      if (reasons) setRefusal(reasons);
      else if (draft.refuse(error)) showError(form.current);
      else complain(error);
      setProgress({});
    } finally {
      setBusy(false);
    }
  };
  const shared = { draft, models: modelOptions(service), progress, notes: fileNotes(earlier, draft.values) };
  const shown = all.filter((field) => !field.hidden && field !== MAX_COST);
  const audited = shown.filter((field) => field.name === AUDITED.name);
  return (
    <form
      class="form-columns"
      ref={form}
      noValidate
      onSubmit={(event) => {
        event.preventDefault();
        void submit(false);
      }}
    >
      <div class="stack card">
        {earlier && (
          <Notice tone="still" title="Filled in from an earlier job">
            <p>
              Change what should be different, then submit. Options that you leave empty, such as the maximum
              cost, stay as they were.
            </p>
          </Notice>
        )}
        {query.offer && (
          <Notice tone="busy" title="Job for an offer">
            <p>The miner of the offer that you chose runs the job at the offer's price.</p>
          </Notice>
        )}
        <Fields {...shared} fields={shown.filter((field) => !field.group && !audited.includes(field))} />
        <More {...shared} fields={shown.filter((field) => field.group)} />
        <section class="stack form-privacy" aria-label="Privacy and checks">
          <Fields {...shared} fields={audited} />
          {!earlier && <SealField service={service} seal={seal} onInput={setSeal} />}
        </section>
      </div>
      <aside class="stack card form-side" aria-label="Price">
        <FormPrice service={service} draft={draft} request={request} sealed={seal.on} />
        <Fields {...shared} fields={[MAX_COST]} />
        {!refusal && <Machines service={service} among={services} />}
        {refusal && (
          <Notice tone="bad" title="No miner can run this job">
            <Reasons reasons={refusal} />
            <div class="row">
              <Button size="small" busy={busy} onClick={() => submit(true)}>
                Submit and wait anyway
              </Button>
            </div>
          </Notice>
        )}
        <Button
          type="submit"
          kind="main"
          busy={busy}
          disabled={draft.wrong.length + draft.general.length > 0 || (seal.on && !seal.ready)}
        >
          {seal.on ? "Seal and submit" : "Submit job"}
        </Button>
        {seal.on && !seal.minerId && <p class="small">Choose the miner to which the job is sealed.</p>}
        <ToDo draft={draft} fields={all} form={form.current} />
      </aside>
    </form>
  );
}

interface FormPriceProps {
  service: ServiceDetails;
  draft: Draft;
  request: Record<string, unknown>;
  sealed: boolean;
}

function FormPrice({ service, draft: { values, general, wrong }, request, sealed }: FormPriceProps) {
  const media = useMedia(firstFile(values));
  return (
    <Price
      service={service}
      request={request}
      media={media}
      limit={String(values[MAX_COST.name] ?? "")}
      audited={!sealed && values.audited === true}
      wrong={general.length > 0 || wrong.some((name) => !isEmpty(values[name]))}
    />
  );
}

/** All fields of the form: the service's, and the job's options, which a service's own fields of the same name replace. */
function jobFields({ audit }: ServiceDetails, fields: FormField[], sealed: boolean): FormField[] {
  const own = new Set(fields.map((field) => field.name));
  const audited = audit && { ...AUDITED, help: auditHelp(audit) };
  const options = [...JOB_OPTIONS, ...(audited ? [audited] : [])].filter(
    ({ name }) => !own.has(name) && !(sealed && NOT_SEALED.has(name)),
  );
  return [...fields, ...options];
}

function auditHelp({ percent, compares, auditors }: AuditPrice): string {
  const who = auditors > 0 ? "" : " No machine that could check it is online now.";
  return `Costs ${percent} % more, within the maximum cost. ${compares}${who}`;
}

interface ToDoProps {
  draft: Draft;
  fields: FormField[];
  form: HTMLFormElement | null;
}

/** What prevents submitting: links to the wrong fields. */
function ToDo({ draft, fields, form }: ToDoProps) {
  const wrong = fields.filter((field) => draft.wrong.includes(field.name));
  if (wrong.length + draft.general.length === 0) return null;
  const show = (name: string) => {
    draft.reveal(name);
    showError(form, name);
  };
  return (
    <div class="todo small" role="status">
      {draft.general.map((error) => (
        <p key={error}>{error}</p>
      ))}
      {wrong.length > 0 && <p>Before you can submit:</p>}
      <ul>
        {wrong.map((field) => (
          <li key={field.name}>
            <button type="button" class="link" onClick={() => show(field.name)}>
              {field.label}
            </button>
          </li>
        ))}
      </ul>
    </div>
  );
}

interface FieldsProps {
  fields: FormField[];
  draft: Draft;
  models: Option[];
  progress: Record<string, number>;
  /** What a field's value means, by field name. */
  notes: Record<string, string>;
}

function Fields({ fields, draft, models, progress, notes }: FieldsProps) {
  return (
    <div class="form-grid">
      {fields.map((field) => (
        <div key={field.name} data-name={field.name}>
          <Control
            field={field}
            value={draft.values[field.name]}
            onInput={(value) => draft.set(field.name, value)}
            error={draft.errors[field.name]}
            warning={draft.warnings[field.name] ?? notes[field.name]}
            models={models}
            progress={progress[field.name]}
          />
        </div>
      ))}
    </div>
  );
}

/** Return the names of files of an earlier job that the form still has, by field name. */
function fileNotes(earlier: JobDetails | undefined, values: FormValues): Record<string, string> {
  const inputs = earlier?.inputs ?? [];
  return Object.fromEntries(
    inputs.flatMap(({ field, name, artifactId }) =>
      artifactId && values[field] === `artifact:${artifactId}`
        ? [[field, `${name}, the earlier job's file.`]]
        : [],
    ),
  );
}

/** The fields that few need, folded at first, by group. An error in one of them opens them for good. */
function More({ fields, ...props }: FieldsProps) {
  const [open, setOpen] = useState(false);
  if (fields.length === 0) return null;
  const groups = [...new Set(fields.map(({ group }) => group))];
  const invalid = fields.some((field) => props.draft.errors[field.name]);
  return (
    <details class="fold" open={open || invalid} onToggle={(event) => setOpen(event.currentTarget.open)}>
      <summary>More options</summary>
      {groups.map((group) => (
        <section key={group} class="form-group">
          <h3>{group}</h3>
          <Fields {...props} fields={fields.filter((field) => field.group === group)} />
        </section>
      ))}
    </details>
  );
}

/** How many machines run a job of this service, or why none does at present. */
function Machines({ service, among }: { service: ServiceDetails; among: Service[] }) {
  if (service.minersOnline > 0) {
    return <p class="small quiet">{plural(service.minersOnline, "machine")} can run this now.</p>;
  }
  return (
    <Notice tone="wait" title="No machine can run this at present">
      <p class="small">
        <Availability service={service} among={among} />
      </p>
    </Notice>
  );
}

/** Return the models, those on an online miner first. */
function modelOptions({ models, ready }: ServiceDetails): Option[] {
  const option = (group: string) => (model: string) => ({ value: model, label: model, group });
  return [
    ...models.filter((model) => ready.includes(model)).map(option("Available now")),
    ...models.filter((model) => !ready.includes(model)).map(option("On no machine that is online")),
  ];
}

/** Preselect a model on an online miner, unless the service's default is one. */
function startingValues({ ready, models }: ServiceDetails, fields: FormField[]): Record<string, unknown> {
  const field = fields.find((field) => field.kind === "model");
  if (!field || ready.includes(String(field.default))) return {};
  const first = models.find((model) => ready.includes(model));
  return first ? { [field.name]: first } : {};
}

/** Scroll to a field, by default the first invalid one, and focus it, once the errors are rendered. */
function showError(form: HTMLFormElement | null, name?: string): void {
  requestAnimationFrame(() => {
    const field = name === undefined ? form : form?.querySelector(`[data-name="${name}"]`);
    const invalid = field?.querySelector<HTMLElement>("[aria-invalid=true]");
    invalid?.scrollIntoView({ block: "center" });
    (invalid?.matches(".drop") ? invalid.querySelector("button") : invalid)?.focus();
  });
}
