{{- define "sightward.labels" -}}
app.kubernetes.io/name: sightward
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/part-of: sightward
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- define "sightward.endpoint" -}}
app.kubernetes.io/name: sightward
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: endpoint
{{- end }}

{{- define "sightward.vllm" -}}
app.kubernetes.io/name: sightward-vllm
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: engine
{{- end }}

{{- define "sightward.vllmLabels" -}}
{{ include "sightward.vllm" . }}
app.kubernetes.io/part-of: sightward
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- define "sightward.image" -}}
image: "{{ .Values.image.repository }}:{{ .Values.image.tag }}"
imagePullPolicy: {{ .Values.image.pullPolicy }}
{{- end }}

{{- define "sightward.pod" -}}
serviceAccountName: {{ .Release.Name }}
automountServiceAccountToken: false
# Links to a Service of this name would set SIGHTWARD_PORT=tcp://..., which is our own setting.
enableServiceLinks: false
{{- with .Values.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "sightward.locked" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end }}

{{- define "sightward.modelName" -}}
- name: MODEL_NAME
  valueFrom: {configMapKeyRef: {name: {{ .Release.Name }}-model, key: MODEL_NAME}}
{{- end }}

{{- define "sightward.waitForModel" -}}
initContainers:
  # Until the job has filled the volume.
  - name: wait-for-model
    {{- include "sightward.image" . | nindent 4 }}
    command: [/bin/sh, -euc, 'until [ -d "/models/$MODEL_NAME" ]; do sleep 5; done']
    env: {{- include "sightward.modelName" . | nindent 6 }}
    resources:
      requests: {cpu: 10m, memory: 16Mi}
      limits: {cpu: 100m, memory: 64Mi}
    {{- include "sightward.locked" . | nindent 4 }}
    volumeMounts:
      - {name: models, mountPath: /models, readOnly: true}
{{- end }}

{{- define "sightward.dns" -}}
- to:
    - namespaceSelector:
        matchLabels: {kubernetes.io/metadata.name: kube-system}
  ports:
    - {protocol: UDP, port: 53}
    - {protocol: TCP, port: 53}
{{- end }}
