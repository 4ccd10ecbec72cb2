{{/*
How a node leaves: the Ray container's hooks, and the time that a pod has to end.

  include "ray-cluster.lifecycle" $node                                          hooks, as YAML
  include "ray-cluster.drainProgram" $node                                       what files/ray.py drains by, or empty
  include "ray-cluster.terminationGracePeriodSeconds" $node                      seconds

  $node := dict "ctx" $ "component" "worker" "group" $name "values" $group

A worker drains on SIGTERM, by files/ray.py, to which _ray.tpl gives the time for it. Process 1 hears no signal that it has no
handler for: the hook's second is for Python to get there, in a pod that ends as it begins. A head has nothing to drain; but when
the release is uninstalled, it goes after its workers, whose tasks belong to the drivers on it.
*/}}

{{/* The user's hooks, and the chart's preStop unless the user has one. */}}
{{- define "ray-cluster.lifecycle" -}}
{{- $lifecycle := deepCopy (default dict .values.lifecycle) -}}
{{- if not $lifecycle.preStop -}}
{{- with include "ray-cluster.preStop" . | fromYaml -}}
{{- $_ := set $lifecycle "preStop" . -}}
{{- end -}}
{{- end -}}
{{- toYaml $lifecycle -}}
{{- end -}}

{{- define "ray-cluster.drainProgram" -}}
{{- if dig "drain" "timeoutSeconds" 0 .values | int -}}
{{ .ctx.Files.Get "files/drain.py" }}
{{- end -}}
{{- end -}}

{{/* Kubernetes expands no $(NAME) in a hook. */}}
{{- define "ray-cluster.preStop" -}}
{{- $pause := include "ray-cluster.servePause" . | int -}}
{{- if eq .component "head" -}}
exec:
  command:
    - python
    - -c
    - {{ .ctx.Files.Get "files/wait_for_workers.py" | quote }}
    - {{ .ctx.Values.clusterDomain | quote }}
    - {{ include "ray-cluster.headAddress" .ctx | quote }}
    - {{ .ctx.Values.ports.dashboard | quote }}
    - {{ $pause | quote }}
{{- else -}}
sleep:
  seconds: {{ max 1 $pause }}
{{- end -}}
{{- end -}}

{{/*
A worker gets its drain time and 60 s more: until the head has heard of the drain, until Ray has stopped its processes after it,
and for a preStop hook of the user before it. Ray Serve's pause comes before the drain as well. When the grace period is over,
Kubernetes kills. The head has 10 s more than the last of its workers.
*/}}
{{- define "ray-cluster.terminationGracePeriodSeconds" -}}
{{- $seconds := add (dig "drain" "timeoutSeconds" 0 .values) (include "ray-cluster.servePause" .) 60 -}}
{{- if not (kindIs "invalid" .values.terminationGracePeriodSeconds) -}}
{{- $seconds = int .values.terminationGracePeriodSeconds -}}
{{- else if eq .component "head" -}}
{{- range $name, $group := include "ray-cluster.workerGroups" .ctx | fromJson -}}
{{- $worker := dict "ctx" $.ctx "component" "worker" "group" $name "values" $group -}}
{{- $seconds = max $seconds (include "ray-cluster.terminationGracePeriodSeconds" $worker | int | add 10) -}}
{{- end -}}
{{- end -}}
{{- $seconds -}}
{{- end -}}
