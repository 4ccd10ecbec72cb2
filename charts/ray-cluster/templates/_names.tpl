{{/*
Names and addresses.

Every name in the chart comes from this file, so that an object and those who refer to it cannot drift apart. Most helpers take $;
others a dictionary with it as "ctx", and what the name depends on.

  include "ray-cluster.objectName" (dict "ctx" $ "suffix" "head")
  include "ray-cluster.addressOf" (dict "ctx" $ "name" $service)
  include "ray-cluster.autoscalerName" (dict "ctx" $ "group" $name "values" $group)
  include "ray-cluster.workerName" (dict "ctx" $ "group" $name)
  include "ray-cluster.networkName" (dict "ctx" $ "topic" "metrics")
*/}}

{{/* Name of the application: the chart's, or nameOverride. It is part of every selector, so it must not change. */}}
{{- define "ray-cluster.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* Name of the release's objects without suffix, by the convention that `helm create` sets. */}}
{{- define "ray-cluster.fullname" -}}
{{- $name := include "ray-cluster.name" . -}}
{{- $fullname := printf "%s-%s" .Release.Name $name -}}
{{- if .Values.fullnameOverride -}}
{{- $fullname = .Values.fullnameOverride -}}
{{- else if contains $name .Release.Name -}}
{{- $fullname = .Release.Name -}}
{{- end -}}
{{- $fullname | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/*
Name of one object: <fullname>-<suffix>, at most 63 characters, which is what a Service's name and a label may have.

A longer one is cut to <start of fullname>-<8 characters of hash>-<suffix>. The hash is taken from the whole name, so two
long releases, or two groups of one, never end up with the same short name; the suffix stays readable.
The room for the start is 63 - 1 - 8 - 1 - len(suffix) = 53 - len(suffix). The longest suffix is "worker-" (7) and a
group's name (30 by the schema), which leaves 16.
*/}}
{{- define "ray-cluster.objectName" -}}
{{- $fullname := include "ray-cluster.fullname" .ctx -}}
{{- $name := printf "%s-%s" $fullname .suffix -}}
{{- if gt (len $name) 63 -}}
{{- $start := $fullname | trunc (sub 53 (len .suffix) | int) | trimSuffix "-" -}}
{{- $name = printf "%s-%s-%s" $start (sha256sum $name | trunc 8) .suffix -}}
{{- end -}}
{{- $name -}}
{{- end -}}

{{/* The head's Deployment, Service and claim. */}}
{{- define "ray-cluster.headName" -}}
{{- include "ray-cluster.objectName" (dict "ctx" . "suffix" "head") -}}
{{- end -}}

{{/* A worker group's Deployment, autoscaler (of whichever kind) and disruption budget. */}}
{{- define "ray-cluster.workerName" -}}
{{- include "ray-cluster.objectName" (dict "ctx" .ctx "suffix" (printf "worker-%s" .group)) -}}
{{- end -}}

{{/* The Service that workers find the GCS by, and the claim of a GCS that keeps its state itself. */}}
{{- define "ray-cluster.gcsName" -}}
{{- include "ray-cluster.objectName" (dict "ctx" . "suffix" "gcs") -}}
{{- end -}}

{{/*
The HorizontalPodAutoscaler of a group. KEDA's has a name of its own, since Helm could not make one again whose name KEDA's still
has (and KEDA's own name for it may be longer than a label). So has the one with demand: its `minReplicas` is the sidecar's, and
Helm 4 refuses to take a field back that is another's.
*/}}
{{- define "ray-cluster.autoscalerName" -}}
{{- $autoscaling := .values.autoscaling -}}
{{- if $autoscaling.keda.enabled -}}
{{- include "ray-cluster.objectName" (dict "ctx" .ctx "suffix" (printf "keda-%s" .group)) -}}
{{- else if $autoscaling.demand.enabled -}}
{{- include "ray-cluster.objectName" (dict "ctx" .ctx "suffix" (printf "demand-%s" .group)) -}}
{{- else -}}
{{- include "ray-cluster.workerName" . -}}
{{- end -}}
{{- end -}}

{{/*
Address of the head as clients use it, fully qualified: for a short name Ray's gRPC resolver sends AAAA queries
upstream, and where upstream DNS is slow or absent workers hang for minutes before they reach the head.
*/}}
{{- define "ray-cluster.headAddress" -}}
{{- include "ray-cluster.addressOf" (dict "ctx" . "name" (include "ray-cluster.headName" .)) -}}
{{- end -}}

{{- define "ray-cluster.addressOf" -}}
{{- printf "%s.%s.svc.%s" .name .ctx.Release.Namespace .ctx.Values.clusterDomain -}}
{{- end -}}

{{/* The Service for clients outside of the Kubernetes cluster. */}}
{{- define "ray-cluster.externalName" -}}
{{- include "ray-cluster.objectName" (dict "ctx" . "suffix" "head-external") -}}
{{- end -}}

{{/* Ray Serve's Service, Ingress and route. */}}
{{- define "ray-cluster.serveName" -}}
{{- include "ray-cluster.objectName" (dict "ctx" . "suffix" "serve") -}}
{{- end -}}

{{/* The pods' service account: the chart's, one that exists, or empty for the namespace's default. */}}
{{- define "ray-cluster.serviceAccountName" -}}
{{- with .Values.serviceAccount -}}
{{- default (ternary (include "ray-cluster.fullname" $) "" .create) .name -}}
{{- end -}}
{{- end -}}

{{/* The tenant's ResourceQuota and LimitRange. */}}
{{- define "ray-cluster.tenantName" -}}
{{- include "ray-cluster.objectName" (dict "ctx" . "suffix" "tenant") -}}
{{- end -}}

{{/* The Secret with a token of the chart's making. */}}
{{- define "ray-cluster.authName" -}}
{{- include "ray-cluster.objectName" (dict "ctx" . "suffix" "auth") -}}
{{- end -}}

{{/* The Secret that the chart makes of a password. */}}
{{- define "ray-cluster.redisName" -}}
{{- include "ray-cluster.objectName" (dict "ctx" . "suffix" "redis") -}}
{{- end -}}

{{/* What an uninstall needs to remove a cluster's keys. */}}
{{- define "ray-cluster.cleanupName" -}}
{{- include "ray-cluster.objectName" (dict "ctx" . "suffix" "redis-cleanup") -}}
{{- end -}}

{{/* A NetworkPolicy; the one without a topic is about all pods of the release. */}}
{{- define "ray-cluster.networkName" -}}
{{- include "ray-cluster.objectName" (dict "ctx" .ctx "suffix" (printf "network-%s" (default "" .topic) | trimSuffix "-")) -}}
{{- end -}}

{{/* What tells Prometheus about the cluster: monitors with their Service, and rules. */}}
{{- define "ray-cluster.metricsName" -}}
{{- include "ray-cluster.objectName" (dict "ctx" . "suffix" "metrics") -}}
{{- end -}}

{{/* The claim through which a Prometheus reads who is there. */}}
{{- define "ray-cluster.targetsName" -}}
{{- include "ray-cluster.objectName" (dict "ctx" . "suffix" "targets") -}}
{{- end -}}

{{/* Grafana's dashboards. */}}
{{- define "ray-cluster.dashboardsName" -}}
{{- include "ray-cluster.objectName" (dict "ctx" . "suffix" "dashboards") -}}
{{- end -}}

{{/* The pod of `helm test`. */}}
{{- define "ray-cluster.testName" -}}
{{- include "ray-cluster.objectName" (dict "ctx" . "suffix" "test") -}}
{{- end -}}
