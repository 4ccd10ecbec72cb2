{{/*
Scaling on demand: the sidecar of the head that raises the floor of worker groups to what Ray is asked for.

  include "ray-cluster.demandGroups" $ | fromJson                                groups with it, by name
  include "ray-cluster.demandName" $                                             its account, Role, RoleBinding and ConfigMap
  include "ray-cluster.demandAccountName" $                                      the account of the head's pod
  include "ray-cluster.demandContainer" $node                                    nothing unless the node is a head with it
  include "ray-cluster.demandVolumes" $node
  include "ray-cluster.demandTrigger" $worker | fromYaml                         of a ScaledObject

The programs are in files/demand. Jobs run users' code in the same pod: the API's token is mounted into this container alone.
*/}}

{{- define "ray-cluster.demandGroups" -}}
{{- $groups := dict -}}
{{- range $name, $group := include "ray-cluster.workerGroups" . | fromJson -}}
{{- if and $group.autoscaling.enabled $group.autoscaling.demand.enabled -}}
{{- $_ := set $groups $name $group -}}
{{- end -}}
{{- end -}}
{{- toJson $groups -}}
{{- end -}}

{{- define "ray-cluster.demandName" -}}
{{- include "ray-cluster.objectName" (dict "ctx" . "suffix" "demand") -}}
{{- end -}}

{{/* The account that may scale: the head's where it has one, since a pod has no second, or else one of the chart's. */}}
{{- define "ray-cluster.demandAccountName" -}}
{{- default (include "ray-cluster.demandName" .) (default (include "ray-cluster.serviceAccountName" .) .Values.head.serviceAccountName) -}}
{{- end -}}

{{- define "ray-cluster.hasDemand" -}}
{{- if and (eq .component "head") (include "ray-cluster.demandGroups" .ctx | fromJson) -}}
true
{{- end -}}
{{- end -}}

{{- define "ray-cluster.demandContainer" -}}
{{- if include "ray-cluster.hasDemand" . -}}
- name: demand
  image: {{ include "ray-cluster.image" . | quote }}
  imagePullPolicy: {{ (include "ray-cluster.imageOf" . | fromJson).pullPolicy }}
  command: [python, /demand/main.py, /demand]
  env:
    - name: POD_NAME
      valueFrom:
        fieldRef:
          fieldPath: metadata.name
    - name: POD_UID
      valueFrom:
        fieldRef:
          fieldPath: metadata.uid
    - name: POD_IP
      valueFrom:
        fieldRef:
          fieldPath: status.podIP
    {{- with include "ray-cluster.auth.env" .ctx }}
    {{- . | nindent 4 }}
    {{- end }}
    {{- with include "ray-cluster.tls.env" .ctx }}
    {{- . | nindent 4 }}
    {{- end }}
  ports:
    - name: demand
      containerPort: {{ .ctx.Values.ports.demand }}
  livenessProbe:
    httpGet:
      path: /metrics
      port: demand
    initialDelaySeconds: 10
    periodSeconds: 20
    timeoutSeconds: 5
  {{- with .values.demandSidecar.resources }}
  resources:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .values.securityContext }}
  securityContext:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  volumeMounts:
    - name: demand
      mountPath: /demand
      readOnly: true
    - name: demand-account
      mountPath: /var/run/secrets/kubernetes.io/serviceaccount
      readOnly: true
    {{- with include "ray-cluster.tls.mount" .ctx | trim }}
    {{- . | nindent 4 }}
    {{- end }}
{{- end -}}
{{- end -}}

{{- define "ray-cluster.demandVolumes" -}}
{{- if include "ray-cluster.hasDemand" . -}}
- name: demand
  configMap:
    name: {{ include "ray-cluster.demandName" .ctx | quote }}
- name: demand-account
  projected:
    sources:
      - serviceAccountToken:
          path: token
          expirationSeconds: 3600
      - configMap:
          name: kube-root-ca.crt
          items:
            - key: ca.crt
              path: ca.crt
{{- end -}}
{{- end -}}

{{/* A trigger of KEDA's on the same floor: one worker for each that demand wants. */}}
{{- define "ray-cluster.demandTrigger" -}}
type: metrics-api
metadata:
  url: {{ printf "http://%s:%v/metrics" (include "ray-cluster.headAddress" .ctx) .ctx.Values.ports.demand }}
  format: prometheus
  valueLocation: {{ printf `ray_cluster_demand_floor_workers{group="%s"}` .group | squote }}
  targetValue: "1"
{{- end -}}

{{/* What the sidecar has to know, as JSON: how each group's workers look to Ray, and the names of what it may change. */}}
{{- define "ray-cluster.demandConfig" -}}
{{- $groups := list -}}
{{- range $name, $group := include "ray-cluster.demandGroups" . | fromJson -}}
{{- $worker := dict "ctx" $ "group" $name "values" $group -}}
{{- $cpus := $group.numCpus -}}
{{- if eq (toString $cpus) "auto" -}}
{{- $cpus = divf (include "ray-cluster.millicores" (include "ray-cluster.validate.request" (dict "resource" "cpu" "resources" $group.resources)) | float64) 1000 | ceil -}}
{{- end -}}
{{- $amounts := dict
      "CPU" (int $cpus)
      "GPU" (include "ray-cluster.ray.gpus" $group | int)
      "memory" (include "ray-cluster.taskMemoryBytes" $group | int64)
      "object_store_memory" (include "ray-cluster.objectStoreBytes" $group | int64) -}}
{{- $labels := dict "ray.io/node-group" $name -}}
{{- range $label, $value := $group.rayLabels -}}
{{- $_ := set $labels $label (toString $value) -}}
{{- end -}}
{{- $groups = append $groups (dict
      "name" $name
      "deployment" (include "ray-cluster.workerName" $worker)
      "autoscaler" ($group.autoscaling.keda.enabled | ternary nil (include "ray-cluster.autoscalerName" $worker))
      "minReplicas" (int $group.autoscaling.minReplicas)
      "maxReplicas" (int $group.autoscaling.maxReplicas)
      "quietSeconds" (int $group.autoscaling.demand.quietSeconds)
      "podDeletionCost" $group.autoscaling.demand.podDeletionCost
      "amounts" (merge $amounts (default dict $group.rayResources))
      "labels" $labels) -}}
{{- end -}}
{{- toPrettyJson (dict "namespace" .Release.Namespace "gcsPort" (int .Values.ports.gcs) "port" (int .Values.ports.demand) "groups" $groups) -}}
{{- end -}}
