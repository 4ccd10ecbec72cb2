{{/*
Pods. Head and workers are made by the same helpers, so that whatever one of them can have, the other can have as well.

  include "ray-cluster.podTemplate" (dict "ctx" $ "component" "head" "values" .Values.head)
  include "ray-cluster.podTemplate" (dict "ctx" $ "component" "worker" "group" $name "values" $group)

`values` holds Kubernetes' own field names, which are passed through as they are. Where the chart has an entry of its own in
a list (env, volumes, containers), the chart's comes first and the user's are added.
*/}}

{{- define "ray-cluster.podTemplate" -}}
metadata:
  labels:
    {{- include "ray-cluster.podLabels" . | nindent 4 }}
  {{- with .values.podAnnotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  {{- include "ray-cluster.podSettings" . | nindent 2 }}
  {{- with .values.initContainers }}
  initContainers:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  containers:
    {{- include "ray-cluster.rayContainer" . | nindent 4 }}
    {{- with .values.sidecars }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  volumes:
    {{- include "ray-cluster.volumes" . | nindent 4 }}
    {{- with .values.volumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end -}}

{{/* What concerns the pod as a whole: permissions, scheduling, DNS and its end. */}}
{{- define "ray-cluster.podSettings" -}}
# Ray does not talk to the Kubernetes API, and jobs run users' code.
automountServiceAccountToken: false
enableServiceLinks: false
restartPolicy: Always
terminationGracePeriodSeconds: {{ include "ray-cluster.terminationGracePeriodSeconds" .values }}
{{- with .values.podSecurityContext }}
securityContext:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with include "ray-cluster.imagePullSecrets" .ctx }}
imagePullSecrets:
  {{- . | nindent 2 }}
{{- end }}
{{- $passedThrough := list "affinity" "dnsConfig" "dnsPolicy" "hostAliases" "nodeSelector" "priorityClassName" "runtimeClassName" "tolerations" }}
{{- range $field := $passedThrough }}
{{- with get $.values $field }}
{{ toYaml (dict $field .) }}
{{- end }}
{{- end }}
{{- $constraints := list }}
{{- range .values.topologySpreadConstraints }}
{{- /* Without a selector a constraint counts no pods: those of the same component and group are what is meant. */}}
{{- $own := dict "labelSelector" (dict "matchLabels" (include "ray-cluster.selectorLabels" $ | fromYaml)) }}
{{- $constraints = append $constraints (hasKey . "labelSelector" | ternary . (merge (deepCopy .) $own)) }}
{{- end }}
{{- with $constraints }}
topologySpreadConstraints:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/*
A worker gets its drain time and 60 s more: Ray counts only the drain against its timeout, then stops its processes (a few
seconds), and before all that a preStop hook of the user may run. When the grace period is over, Kubernetes kills.
*/}}
{{- define "ray-cluster.terminationGracePeriodSeconds" -}}
{{- if kindIs "invalid" .terminationGracePeriodSeconds -}}
{{- add (dig "drain" "timeoutSeconds" 0 .) 60 -}}
{{- else -}}
{{- int .terminationGracePeriodSeconds -}}
{{- end -}}
{{- end -}}

{{- define "ray-cluster.rayContainer" -}}
- name: ray-{{ .component }}
  image: {{ include "ray-cluster.image" .ctx | quote }}
  imagePullPolicy: {{ .ctx.Values.image.pullPolicy }}
  command: [ray, start]
  args:
    {{- include "ray-cluster.ray.args" . | trim | nindent 4 }}
  env:
    {{- include "ray-cluster.ray.env" . | nindent 4 }}
    {{- with .values.env }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with .values.envFrom }}
  envFrom:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  ports:
    {{- include "ray-cluster.containerPorts" . | trim | nindent 4 }}
  {{- with .values.resources }}
  resources:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .values.securityContext }}
  securityContext:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .values.lifecycle }}
  lifecycle:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- range $name := list "startupProbe" "livenessProbe" "readinessProbe" }}
  {{- with get $.values $name }}
  {{ $name }}:
    {{- include "ray-cluster.probe" . | nindent 4 }}
  {{- end }}
  {{- end }}
  volumeMounts:
    - name: shm
      mountPath: /dev/shm
    - name: ray-tmp
      mountPath: /tmp/ray
    {{- with .values.volumeMounts }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end -}}

{{- define "ray-cluster.containerPorts" -}}
{{- $ports := .ctx.Values.ports -}}
{{- if eq .component "head" }}
- name: gcs-server
  containerPort: {{ $ports.gcs }}
- name: client
  containerPort: {{ $ports.client }}
- name: dashboard
  containerPort: {{ $ports.dashboard }}
{{- end }}
- name: agent
  containerPort: {{ $ports.dashboardAgentListen }}
- name: metrics
  containerPort: {{ $ports.metrics }}
{{- end -}}

{{/*
A probe: the user's fields, and Ray's health endpoint unless the user brings a handler. The endpoint is the dashboard
agent's: on every node it asks for the node's raylet, on the head for the GCS as well, and costs a few milliseconds where
the `ray` command line takes half a second of CPU.
*/}}
{{- define "ray-cluster.probe" -}}
{{- $probe := deepCopy . -}}
{{- if not (or .httpGet .exec .tcpSocket .grpc) -}}
{{- $_ := set $probe "httpGet" (dict "path" "/api/healthz" "port" "agent") -}}
{{- end -}}
{{- toYaml $probe -}}
{{- end -}}

{{/* The volumes of every Ray container: /dev/shm for its object store, /tmp/ray for its logs, sockets and spilled objects. */}}
{{- define "ray-cluster.volumes" -}}
# A container has 64 MiB of /dev/shm by default, and Ray would put its object store on disk. Counts as the pod's memory.
- name: shm
  emptyDir:
    medium: Memory
    sizeLimit: {{ include "ray-cluster.sharedMemorySize" .values }}
- name: ray-tmp
  {{- $persistence := default dict .values.persistence }}
  {{- if $persistence.enabled }}
  persistentVolumeClaim:
    claimName: {{ default (include "ray-cluster.headName" .ctx) $persistence.existingClaim | quote }}
  {{- else }}
  emptyDir: {}
  {{- end }}
{{- end -}}
