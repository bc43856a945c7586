// The one place that knows prom-client. What this process counts itself lives in its registry and is handed to our
// encoder as plain data (its own OpenMetrics rendering renames the metrics it is given); what was counted elsewhere is
// a const family, asked for at every scrape. Owns the registry.

import { Counter, Gauge, Histogram, Registry } from 'prom-client';
import { type ExpositionWriter, type FamilyHeader, renderLabels } from './encoder.js';

export type { Counter, Gauge, Histogram } from 'prom-client';

/** One figure of a const family. */
export interface Figure {
  labels?: Record<string, string>;
  value: number;
  /** What the sample's name has beyond the family's: `_bucket`, `_sum`, `_count`. */
  suffix?: string;
}

/** A family whose figures were counted elsewhere. */
export interface ConstFamily extends FamilyHeader {
  /** The figures now; none leaves the family out of this scrape. */
  collect(): Iterable<Figure>;
}

interface Declaration {
  name: string;
  help: string;
  labels?: string[];
}

interface PromValue {
  value: number;
  metricName?: string;
  labels: Record<string, string | number>;
}

export class AgentRegistry {
  readonly #registry = new Registry();
  readonly #families: FamilyHeader[] = [];
  readonly #const: ConstFamily[] = [];

  counter(declaration: Declaration): Counter {
    return new Counter(this.#declare('counter', declaration));
  }

  gauge(declaration: Declaration): Gauge {
    return new Gauge(this.#declare('gauge', declaration));
  }

  histogram(declaration: Declaration & { buckets: number[] }): Histogram {
    return new Histogram({ ...this.#declare('histogram', declaration), buckets: declaration.buckets });
  }

  add(families: readonly ConstFamily[]): void {
    this.#const.push(...families);
  }

  /** Every family that may be shown, for the reference. */
  families(): FamilyHeader[] {
    return [...this.#families, ...this.#const];
  }

  async write(writer: ExpositionWriter): Promise<void> {
    for (const metric of await this.#registry.getMetricsAsJSON()) {
      // prom-client's types say enum; its values are the names.
      const type = metric.type as unknown as FamilyHeader['type'];
      const values = metric.values as PromValue[];
      if (values.length === 0) continue;
      writer.header({ name: metric.name, help: metric.help, type });
      for (const { metricName, labels, value } of values) {
        writer.floatSample(metricName ?? metric.name, renderLabels(texts(labels, writer)), value);
      }
    }
    for (const family of this.#const) writeFamily(writer, family, family.collect());
  }

  #declare(type: FamilyHeader['type'], { name, help, labels }: Declaration) {
    this.#families.push({ name, type, help, ...(labels === undefined ? {} : { labels }) });
    return { name, help, labelNames: labels ?? [], registers: [this.#registry] };
  }
}

/** Writes a family, or nothing when it has no figures. */
export function writeFamily(writer: ExpositionWriter, family: FamilyHeader, figures: Iterable<Figure>): void {
  let begun = false;
  for (const figure of figures) {
    if (!begun) writer.header(family);
    begun = true;
    writer.floatSample(family.name + (figure.suffix ?? ''), renderLabels(figure.labels ?? {}), figure.value);
  }
}

/** Labels as text; OpenMetrics wants bucket bounds as floats. */
function texts(labels: Record<string, string | number>, writer: ExpositionWriter): Record<string, string> {
  const entries = Object.entries(labels).map(([name, value]) => [name, boundText(value, writer)] as const);
  return Object.fromEntries(entries);
}

function boundText(value: string | number, writer: ExpositionWriter): string {
  const whole = typeof value === 'number' && Number.isInteger(value);
  return whole && writer.format === 'openmetrics' ? `${value}.0` : String(value);
}
