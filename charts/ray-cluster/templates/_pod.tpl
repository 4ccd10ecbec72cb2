{{/*
Pods. Head and workers are made by the same helpers, so that whatever one of them can have, the other can have as well.

  include "ray-cluster.podTemplate" (dict "ctx" $ "component" "head" "values" .Values.head)
  include "ray-cluster.podTemplate" (dict "ctx" $ "component" "worker" "group" $name "values" $group)
  include "ray-cluster.hookValues" (dict "ctx" $ "account" $name "podLabels" $labels) | fromJson

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
  {{- $sign := include "ray-cluster.tls.sign" . }}
  {{- $cleanUp := include "ray-cluster.sessionCleanUp" . }}
  {{- if or $sign $cleanUp .values.initContainers }}
  initContainers:
    {{- with $sign }}
    {{- . | nindent 4 }}
    {{- end }}
    {{- with $cleanUp }}
    {{- . | nindent 4 }}
    {{- end }}
    {{- with .values.initContainers }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- end }}
  containers:
    {{- include "ray-cluster.rayContainer" . | nindent 4 }}
    {{- with include "ray-cluster.demandContainer" . }}
    {{- . | nindent 4 }}
    {{- end }}
    {{- with .values.sidecars }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  volumes:
    {{- include "ray-cluster.volumes" . | nindent 4 }}
    {{- with include "ray-cluster.demandVolumes" . }}
    {{- . | nindent 4 }}
    {{- end }}
    {{- with .values.volumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end -}}

{{/* What concerns the pod as a whole: permissions, scheduling, DNS and its end. */}}
{{- define "ray-cluster.podSettings" -}}
# Ray does not talk to the Kubernetes API, and jobs run users' code: a token only for who asks for it, and for no hook.
automountServiceAccountToken: {{ and .ctx.Values.serviceAccount.automount (has .component (list "head" "worker")) }}
enableServiceLinks: false
restartPolicy: {{ .restartPolicy | default "Always" }}
{{- $account := default (include "ray-cluster.serviceAccountName" .ctx) .values.serviceAccountName }}
{{- if include "ray-cluster.hasDemand" . }}
{{- $account = include "ray-cluster.demandAccountName" .ctx }}
{{- end }}
{{- with $account }}
serviceAccountName: {{ . | quote }}
{{- end }}
terminationGracePeriodSeconds: {{ include "ray-cluster.terminationGracePeriodSeconds" . }}
{{- with .values.podSecurityContext }}
securityContext:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with include "ray-cluster.imagePullSecrets" .ctx }}
imagePullSecrets:
  {{- . | nindent 2 }}
{{- end }}
{{- $passedThrough := list "affinity" "dnsConfig" "dnsPolicy" "hostAliases" "hostNetwork" "hostUsers" "nodeSelector" "priorityClassName" "readinessGates" "resourceClaims" "runtimeClassName" "schedulerName" "schedulingGates" "shareProcessNamespace" "tolerations" }}
{{- range $field := $passedThrough }}
{{- $value := get $.values $field }}
{{- if or $value (kindIs "bool" $value) }}
{{ toYaml (dict $field $value) }}
{{- end }}
{{- end }}
{{- if and .values.hostNetwork (not .values.dnsPolicy) }}
# By default such a pod asks the machine's DNS, which does not know the head's name.
dnsPolicy: ClusterFirstWithHostNet
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

{{/* The values of a hook's pod: it runs where the head does, under the same restrictions. */}}
{{- define "ray-cluster.hookValues" -}}
{{- $own := dict "serviceAccountName" .account "terminationGracePeriodSeconds" 5 "podLabels" .podLabels -}}
{{- $heads := pick .ctx.Values.head "dnsConfig" "dnsPolicy" "hostAliases" "image" "nodeSelector" "podSecurityContext" "priorityClassName" "runtimeClassName" "schedulerName" "securityContext" "tolerations" -}}
{{- include "ray-cluster.withoutNulls" (merge $own $heads) -}}
{{- end -}}

{{/* What Deployments of head and workers have in common beside their pods; null is Kubernetes' own default. */}}
{{- define "ray-cluster.deploymentSettings" -}}
{{- range $field := list "minReadySeconds" "progressDeadlineSeconds" "revisionHistoryLimit" }}
{{- $value := get $ $field }}
{{- if has (kindOf $value) (list "int" "int64" "float64") }}
{{ $field }}: {{ int $value }}
{{- end }}
{{- end }}
{{- end -}}

{{/*
An init container that removes the oldest sessions from a head's claim: each start of the head adds one, and Ray removes none.
It has the head's resources, so that it adds nothing to what the pod requests.
*/}}
{{- define "ray-cluster.sessionCleanUp" -}}
{{- $persistence := default dict .values.persistence -}}
{{- if and $persistence.enabled (not (kindIs "invalid" $persistence.keepSessions)) -}}
- name: remove-old-sessions
  image: {{ include "ray-cluster.image" . | quote }}
  imagePullPolicy: {{ (include "ray-cluster.imageOf" . | fromJson).pullPolicy }}
  command: [python, -c]
  args:
    - {{ .ctx.Files.Get "files/remove_old_sessions.py" | quote }}
    - /tmp/ray
    - {{ int $persistence.keepSessions | quote }}
  {{- with .values.resources }}
  resources:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .values.securityContext }}
  securityContext:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  volumeMounts:
    - name: ray-tmp
      mountPath: /tmp/ray
{{- end -}}
{{- end -}}

{{- define "ray-cluster.rayContainer" -}}
- name: ray-{{ .component }}
  image: {{ include "ray-cluster.image" . | quote }}
  imagePullPolicy: {{ (include "ray-cluster.imageOf" . | fromJson).pullPolicy }}
  command:
    {{- if eq .component "head" }}
    {{- with include "ray-cluster.monitoring.targets" .ctx }}
    {{- . | nindent 4 }}
    {{- end }}
    {{- end }}
    - python
    - -c
    - {{ .ctx.Files.Get "files/ray.py" | quote }}
    - {{ include "ray-cluster.drainProgram" . | quote }}
    {{- with include "ray-cluster.waitForOldHead" . }}
    {{- . | nindent 4 }}
    {{- end }}
    - start
  args:
    {{- include "ray-cluster.ray.args" . | trim | nindent 4 }}
  env:
    {{- include "ray-cluster.ray.env" . | nindent 4 }}
    {{- with .values.env }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  ports:
    {{- include "ray-cluster.containerPorts" . | trim | nindent 4 }}
    {{- with .values.extraPorts }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- range $field := list "envFrom" "resizePolicy" "resources" "securityContext" "terminationMessagePolicy" "volumeDevices" "workingDir" }}
  {{- with get $.values $field }}
  {{- toYaml (dict $field .) | nindent 2 }}
  {{- end }}
  {{- end }}
  {{- with include "ray-cluster.lifecycle" . | fromYaml }}
  lifecycle:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- range $name := list "startupProbe" "livenessProbe" "readinessProbe" }}
  {{- with get $.values $name }}
  {{ $name }}:
    {{- include "ray-cluster.probe" (dict "node" $ "name" $name "probe" .) | nindent 4 }}
  {{- end }}
  {{- end }}
  volumeMounts:
    - name: shm
      mountPath: /dev/shm
    - name: ray-tmp
      mountPath: /tmp/ray
    {{- if include "ray-cluster.needsTmp" .values }}
    - name: writable-tmp
      mountPath: /tmp
    {{- end }}
    {{- if .values.objectSpilling.enabled }}
    - name: object-spilling
      mountPath: {{ include "ray-cluster.ray.spillingDirectory" . }}
    {{- end }}
    {{- if eq .component "head" }}
    {{- include "ray-cluster.storageMounts" .ctx | nindent 4 }}
    {{- include "ray-cluster.monitoring.targetsMount" .ctx | nindent 4 }}
    {{- end }}
    {{- include "ray-cluster.tls.mount" .ctx | nindent 4 }}
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
- name: as-metrics
  containerPort: {{ $ports.autoscalerMetrics }}
- name: dash-metrics
  containerPort: {{ $ports.dashboardMetrics }}
{{- end }}
- name: agent
  containerPort: {{ $ports.dashboardAgentListen }}
- name: metrics
  containerPort: {{ $ports.metrics }}
{{- if include "ray-cluster.servesRequests" . }}
- name: serve
  containerPort: {{ $ports.serve }}
{{- end }}
{{- end -}}

{{/*
A probe: the user's fields, and Ray's health endpoint unless the user brings a handler.

A worker that receives requests is ready when Ray Serve's proxy is, because the Service sends requests to whoever is ready,
and a worker without a replica has no proxy. The head always has one, and stays ready for everything else it does.
*/}}
{{- define "ray-cluster.probe" -}}
{{- $probe := deepCopy .probe -}}
{{- if not (or $probe.httpGet $probe.exec $probe.tcpSocket $probe.grpc) -}}
{{- $handler := include "ray-cluster.ray.health" (merge (dict "probe" .name) .node) | fromYaml -}}
{{- if and (eq .name "readinessProbe") (eq .node.component "worker") (include "ray-cluster.servesRequests" .node) -}}
{{- $handler = dict "path" "/-/healthz" "port" "serve" -}}
{{- end -}}
{{- $_ := set $probe "httpGet" $handler -}}
{{- end -}}
{{- toYaml $probe -}}
{{- end -}}

{{/*
The volumes of every Ray container: /dev/shm for its object store, /tmp/ray for its logs and sockets, and for the objects
that the store has no room for unless these have a volume of their own.
*/}}
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
{{- if include "ray-cluster.needsTmp" .values }}
# The container's own /tmp is read-only, and not only Ray writes there.
- name: writable-tmp
  emptyDir: {}
{{- end }}
{{- with .values.objectSpilling }}
{{- if .enabled }}
- name: object-spilling
  {{- toYaml (default (dict "emptyDir" (dict "sizeLimit" .sizeLimit)) .volume) | nindent 2 }}
{{- end }}
{{- end }}
{{- if eq .component "head" }}
{{ include "ray-cluster.storageVolumes" .ctx }}
{{ include "ray-cluster.monitoring.targetsVolume" .ctx }}
{{- end }}
{{ include "ray-cluster.tls.volumes" .ctx }}
{{- end -}}

{{/* Not empty if a node's container has no /tmp that it may write to, the user's own included. */}}
{{- define "ray-cluster.needsTmp" -}}
{{- $mounted := list -}}
{{- range .volumeMounts -}}
{{- $mounted = append $mounted (trimSuffix "/" .mountPath) -}}
{{- end -}}
{{- if and (default dict .securityContext).readOnlyRootFilesystem (not (has "/tmp" $mounted)) -}}
true
{{- end -}}
{{- end -}}

{{/* A claim; "values" says what for. null asks for the cluster's default class, an empty text for a volume without any. */}}
{{- define "ray-cluster.claim" -}}
apiVersion: v1
kind: PersistentVolumeClaim
metadata:
  {{- include "ray-cluster.metadata" (merge (pick .values "labels" "annotations") .) | nindent 2 }}
spec:
  accessModes:
    {{- toYaml .values.accessModes | nindent 4 }}
  {{- if not (kindIs "invalid" .values.storageClass) }}
  storageClassName: {{ .values.storageClass | quote }}
  {{- end }}
  resources:
    requests:
      storage: {{ .values.size }}
{{- end -}}

{{/* A disruption budget for the pods of a node's component and group. Kubernetes takes one of the two numbers. */}}
{{- define "ray-cluster.podDisruptionBudget" -}}
{{- $budget := .values.podDisruptionBudget -}}
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  {{- include "ray-cluster.metadata" (merge (pick $budget "labels" "annotations") .) | nindent 2 }}
spec:
  {{- if not (kindIs "invalid" $budget.minAvailable) }}
  minAvailable: {{ $budget.minAvailable }}
  {{- else }}
  maxUnavailable: {{ $budget.maxUnavailable }}
  {{- end }}
  unhealthyPodEvictionPolicy: {{ $budget.unhealthyPodEvictionPolicy }}
  selector:
    matchLabels:
      {{- include "ray-cluster.selectorLabels" . | nindent 6 }}
{{- end -}}
