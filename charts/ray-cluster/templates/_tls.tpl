{{/*
TLS between Ray's processes. They call each other by the addresses of their pods and check those, so that each pod needs a
certificate with its own address in it, which is known only once it runs: an init container signs it.

  include "ray-cluster.tls.env" $                                                environment of whatever is Ray, or asks the GCS
  include "ray-cluster.tls.sign" $node                                           the init container, or empty
  include "ray-cluster.tls.volumes" $, "ray-cluster.tls.mount" $                 the authority and the pod's files; the latter alone

  $node := dict "ctx" $ "component" "worker" "group" $name "values" $group

The authority's key is mounted by the init container alone: jobs run in none.
*/}}

{{- define "ray-cluster.tls.directory" -}}
/ray-tls
{{- end -}}

{{- define "ray-cluster.tls.env" -}}
{{- if .Values.tls.enabled -}}
{{- $directory := include "ray-cluster.tls.directory" . -}}
- name: RAY_USE_TLS
  value: "1"
- name: RAY_TLS_CA_CERT
  value: {{ $directory }}/ca.crt
- name: RAY_TLS_SERVER_CERT
  value: {{ $directory }}/tls.crt
- name: RAY_TLS_SERVER_KEY
  value: {{ $directory }}/tls.key
{{- end -}}
{{- end -}}

{{- define "ray-cluster.tls.sign" -}}
{{- if .ctx.Values.tls.enabled -}}
- name: sign-certificate
  image: {{ include "ray-cluster.image" . | quote }}
  imagePullPolicy: {{ (include "ray-cluster.imageOf" . | fromJson).pullPolicy }}
  command: [python, -c]
  args:
    - {{ .ctx.Files.Get "files/sign_certificate.py" | quote }}
    - /authority
    - {{ include "ray-cluster.tls.directory" .ctx }}
    - $(POD_IP)
    - 127.0.0.1
    - localhost
    {{- if eq .component "head" }}
    {{- range $name := list (include "ray-cluster.headName" .ctx) (include "ray-cluster.gcsName" .ctx) }}
    - {{ include "ray-cluster.addressOf" (dict "ctx" $.ctx "name" $name) }}
    {{- end }}
    {{- range .ctx.Values.tls.headNames }}
    - {{ . | quote }}
    {{- end }}
    {{- end }}
  env:
    - name: POD_IP
      valueFrom:
        fieldRef:
          fieldPath: status.podIP
  {{- range $field := list "resources" "securityContext" }}
  {{- with get $.values $field }}
  {{- toYaml (dict $field .) | nindent 2 }}
  {{- end }}
  {{- end }}
  volumeMounts:
    - name: tls-authority
      mountPath: /authority
      readOnly: true
    - name: tls
      mountPath: {{ include "ray-cluster.tls.directory" .ctx }}
{{- end -}}
{{- end -}}

{{- define "ray-cluster.tls.volumes" -}}
{{- if .Values.tls.enabled }}
- name: tls-authority
  secret:
    secretName: {{ .Values.tls.existingSecret | quote }}
# In memory, so that no key is on a disk.
- name: tls
  emptyDir:
    medium: Memory
    sizeLimit: 1Mi
{{- end }}
{{- end -}}

{{- define "ray-cluster.tls.mount" -}}
{{- if .Values.tls.enabled }}
- name: tls
  mountPath: {{ include "ray-cluster.tls.directory" . }}
  readOnly: true
{{- end }}
{{- end -}}
