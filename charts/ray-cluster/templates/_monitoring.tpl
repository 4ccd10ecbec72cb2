{{/*
Monitoring: how a Prometheus finds the nodes, by which labels it knows the cluster, and how Ray's dashboard finds Prometheus and
Grafana.

  include "ray-cluster.monitoring.targets" $                                     list: what process 1 of the head is first
  include "ray-cluster.monitoring.endpoint" (dict "ctx" $ "values" $monitor "port" $name)
  include "ray-cluster.monitoring.metadata" (dict "ctx" $ "name" $name "values" $values)
  include "ray-cluster.monitoring.env" $                                         list of environment variables
  include "ray-cluster.monitoring.ports" $                                       ports with metrics, a map from names to numbers
  include "ray-cluster.monitoring.alerts" $                                      list of alerts
  include "ray-cluster.monitoring.dashboard" $content                            a file in files/dashboards as Grafana's JSON
*/}}

{{/* The metadata of an object that concerns the whole cluster. */}}
{{- define "ray-cluster.monitoring.metadata" -}}
{{- include "ray-cluster.metadata" (merge (dict "component" "metrics") (pick . "ctx" "name") (pick .values "labels" "annotations")) -}}
{{- end -}}

{{/*
The label that tells clusters apart in Prometheus. It is the one that Ray's own Grafana dashboards filter by, and KubeRay's
clusters have.
*/}}
{{- define "ray-cluster.monitoring.clusterLabel" -}}
ray_io_cluster
{{- end -}}

{{- define "ray-cluster.monitoring.ports" -}}
metrics: {{ .Values.ports.metrics }}
as-metrics: {{ .Values.ports.autoscalerMetrics }}
dash-metrics: {{ .Values.ports.dashboardMetrics }}
{{- if include "ray-cluster.demandGroups" . | fromJson }}
demand: {{ .Values.ports.demand }}
{{- end }}
{{- end -}}

{{/* A port that Prometheus scrapes. What the user relabels comes last, and so may change what the chart says. */}}
{{- define "ray-cluster.monitoring.endpoint" -}}
port: {{ .port }}
{{- range $field := list "interval" "scrapeTimeout" }}
{{- with get $.values $field }}
{{ $field }}: {{ . }}
{{- end }}
{{- end }}
relabelings:
  - targetLabel: {{ include "ray-cluster.monitoring.clusterLabel" . }}
    replacement: {{ include "ray-cluster.fullname" .ctx | quote }}
  {{- with .values.relabelings }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with .values.metricRelabelings }}
metricRelabelings:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "ray-cluster.monitoring.claimName" -}}
{{- $claim := .Values.monitoring.claim -}}
{{- default (include "ray-cluster.targetsName" .) (default $claim.name $claim.existingClaim) -}}
{{- end -}}

{{- define "ray-cluster.monitoring.targetsDirectory" -}}
/prometheus-targets
{{- end -}}

{{/*
The claim holds one small file and nothing else. Ray's whole /tmp/ray on it, as once recommended, would put sockets, logs and
spilled objects on what is a network's file system where two machines are to see it.
*/}}
{{- define "ray-cluster.monitoring.targets" -}}
{{- with .Values.monitoring.claim -}}
{{- if .enabled -}}
{{- $labels := dict "namespace" $.Release.Namespace (include "ray-cluster.monitoring.clusterLabel" $) (include "ray-cluster.fullname" $) -}}
- python
- -c
- {{ $.Files.Get "files/prometheus_targets.py" | quote }}
- {{ printf "%s/%s" (include "ray-cluster.monitoring.targetsDirectory" $) .fileName }}
- {{ toRawJson $labels | quote }}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "ray-cluster.monitoring.targetsVolume" -}}
{{- if .Values.monitoring.claim.enabled -}}
- name: prometheus-targets
  persistentVolumeClaim:
    claimName: {{ include "ray-cluster.monitoring.claimName" . | quote }}
{{- end -}}
{{- end -}}

{{- define "ray-cluster.monitoring.targetsMount" -}}
{{- if .Values.monitoring.claim.enabled -}}
- name: prometheus-targets
  mountPath: {{ include "ray-cluster.monitoring.targetsDirectory" . }}
{{- end -}}
{{- end -}}

{{/* Where the dashboard finds its graphs. What is empty is Ray's own default. */}}
{{- define "ray-cluster.monitoring.env" -}}
{{- $prometheus := .Values.monitoring.prometheus }}
{{- $grafana := .Values.monitoring.grafana }}
{{- $texts := dict
      "RAY_PROMETHEUS_HOST" $prometheus.host
      "RAY_PROMETHEUS_NAME" $prometheus.name
      "RAY_GRAFANA_HOST" $grafana.host
      "RAY_GRAFANA_IFRAME_HOST" $grafana.iframeHost
      "RAY_GRAFANA_ORG_ID" $grafana.orgId
      "RAY_GRAFANA_CLUSTER_FILTER" $grafana.clusterFilter }}
{{- with $prometheus.headers }}
{{- $_ := set $texts "RAY_PROMETHEUS_HEADERS" (toRawJson .) }}
{{- end }}
{{- range $name, $text := $texts }}
{{- with $text }}
- name: {{ $name }}
  value: {{ include "ray-cluster.monitoring.literal" . }}
{{- end }}
{{- end }}
{{- with $prometheus.existingSecret }}
- name: RAY_PROMETHEUS_HEADERS
  valueFrom:
    secretKeyRef:
      name: {{ . | quote }}
      key: {{ $prometheus.existingSecretHeadersKey | quote }}
{{- end }}
{{- end -}}

{{/* A text that Kubernetes shall not look for $(NAME) in. */}}
{{- define "ray-cluster.monitoring.literal" -}}
{{- replace "$(" "$$(" (toString .) | quote -}}
{{- end -}}

{{/*
files/alerts.yaml with what is meant in the place of its @names@: Prometheus' own templates, which look like Helm's, stay as they
are. Names of objects are exact, so that no alert is about another release of the namespace.
*/}}
{{- define "ray-cluster.monitoring.alerts" -}}
{{- $workers := list -}}
{{- $autoscalers := list -}}
{{- range $name, $group := include "ray-cluster.workerGroups" $ | fromJson -}}
{{- $worker := dict "ctx" $ "group" $name "values" $group -}}
{{- $workers = append $workers (include "ray-cluster.workerName" $worker) -}}
{{- if $group.autoscaling.enabled -}}
{{- $autoscalers = append $autoscalers (include "ray-cluster.autoscalerName" $worker) -}}
{{- end -}}
{{- end -}}
{{- $names := dict
      "namespace" .Release.Namespace
      "cluster" (include "ray-cluster.fullname" .)
      "ofCluster" (printf "namespace=%q, %s=%q" .Release.Namespace (include "ray-cluster.monitoring.clusterLabel" .) (include "ray-cluster.fullname" .))
      "head" (include "ray-cluster.headName" .)
      "workers" (join "|" $workers)
      "autoscalers" (join "|" $autoscalers) -}}
{{- $text := .Files.Get "files/alerts.yaml" -}}
{{- range $name, $value := merge $names .Values.monitoring.rules.thresholds -}}
{{- $text = replace (printf "@%s@" $name) (toString $value) $text -}}
{{- end -}}
{{- $alerts := fromYamlArray $text -}}
{{- range $alerts -}}
{{- $_ := set . "labels" (merge .labels (include "ray-cluster.withoutNulls" (default dict $.Values.monitoring.rules.alertLabels) | fromJson)) -}}
{{- end -}}
{{- toYaml $alerts -}}
{{- end -}}

{{/* Graphs two abreast, each of the queries in its panel; a list of `clusters` is what the dashboard lets one choose from. */}}
{{- define "ray-cluster.monitoring.dashboard" -}}
{{- $datasource := dict "type" "prometheus" "uid" "$datasource" -}}
{{- $panels := list -}}
{{- range $index, $panel := .panels -}}
{{- $targets := list -}}
{{- range $number, $query := $panel.queries -}}
{{- $targets = append $targets (dict "refId" (printf "%c" (add 65 $number | int)) "datasource" $datasource "expr" (trim $query.expr) "legendFormat" $query.legend) -}}
{{- end -}}
{{- $place := dict "x" (mul 12 (mod $index 2)) "y" (mul 8 (div $index 2)) "w" 12 "h" 8 -}}
{{- $field := dict "defaults" (dict "unit" (default "short" $panel.unit) "min" 0) "overrides" list -}}
{{- $panels = append $panels (dict "id" (add 1 $index) "type" "timeseries" "title" $panel.title "description" (default "" $panel.description) "datasource" $datasource "gridPos" $place "fieldConfig" $field "targets" $targets) -}}
{{- end -}}
{{- $variables := list (dict "name" "datasource" "type" "datasource" "query" "prometheus") -}}
{{- range .variables -}}
{{- $variables = append $variables (dict "name" .name "type" "query" "datasource" $datasource "query" .query "refresh" 2 "sort" 1 "multi" false "includeAll" false) -}}
{{- end -}}
{{- dict
      "uid" .uid
      "title" .title
      "tags" (list "ray")
      "editable" false
      "refresh" "30s"
      "schemaVersion" 39
      "time" (dict "from" "now-1h" "to" "now")
      "templating" (dict "list" $variables)
      "panels" $panels | toPrettyJson -}}
{{- end -}}
