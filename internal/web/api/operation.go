package api

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"tandem/internal/control"
)

// output is what huma writes for an operation.
type output[T any] struct {
	Status int
	Body   reply[T]
}

// TenantPath is in the path of every operation of a tenant. guarded has
// compared it with the credentials already.
type TenantPath struct {
	TenantID string `path:"tenant_id" doc:"the tenant that the credentials belong to" example:"acme"`
}

// Keyed is an operation that changes something and may be repeated safely.
// guarded reads the header; it stands here for the document.
type Keyed struct {
	IdempotencyKey string `header:"Idempotency-Key" doc:"repeats under one key within 24 hours give the first answer again"`
}

// Paged is a list that is read page by page.
type Paged struct {
	Limit  int    `query:"limit" minimum:"1" maximum:"100" default:"20" doc:"items on a page"`
	Cursor string `query:"cursor" doc:"next_cursor of the page before"`
}

// operation declares one operation: who may, where, and what it answers. T is
// the response inside the envelope.
func operation[I, T any](r *router, op huma.Operation, serve func(context.Context, *I) (control.Answer, error)) {
	op.MaxBodyBytes, op.BodyReadTimeout = -1, -1 // guarded has read the body, within bounds
	op.SkipValidateBody = true                   // decode is stricter than a schema can be
	op.Errors = append(op.Errors, 400, 401, 404, 429, 500, 503)
	if op.Method != http.MethodGet {
		op.Errors = append(op.Errors, http.StatusConflict)
	}
	s := r.server
	huma.Register(r, op, func(ctx context.Context, in *I) (*output[T], error) {
		a, err := serve(ctx, in)
		if err != nil {
			return nil, s.problem(ctx, err)
		}
		if !a.RetryAfter.IsZero() { // a kept refusal: how long is still to wait
			setRetryAfter(exchangeOf(ctx).Header(), a.RetryAfter.Sub(s.Clock()))
		}
		return &output[T]{Status: a.Status, Body: reply[T]{a.Body}}, nil
	})
}

// tenantOp and operatorOp say who may use an operation.
func tenantOp(method, path, id, summary string) huma.Operation {
	return newOp(tenantScheme, "GreenVN", method, "/v1/tenants/{tenant_id}"+path, id, summary)
}

func operatorOp(method, path, id, summary string) huma.Operation {
	return newOp(operatorScheme, "Operator", method, "/v1/admin"+path, id, summary)
}

func newOp(scheme, tag, method, path, id, summary string) huma.Operation {
	op := huma.Operation{Method: method, Path: path, OperationID: id, Summary: summary, Tags: []string{tag},
		Security: []map[string][]string{{scheme: {}}}, DefaultStatus: http.StatusOK}
	if method == http.MethodPost {
		op.DefaultStatus = http.StatusCreated
	}
	return op
}

// once ties a change to its answer: the status and what present makes of the
// result, under the request's Idempotency-Key.
func once[R, T any](ctx context.Context, s *server, status int, present func(R) T) control.Once[R] {
	e := exchangeOf(ctx)
	return control.Once[R]{By: e.by, Key: e.key, Digest: e.digest,
		Render: func(result R) control.Answer { return render(status, present(result)) },
		Refuse: s.answerer(ctx),
	}
}

func levelOf(status int) slog.Level {
	if status >= http.StatusInternalServerError {
		return slog.LevelWarn
	}
	return slog.LevelInfo
}

func requestAttrs(e *exchange, r *http.Request, took time.Duration) []slog.Attr {
	attrs := make([]slog.Attr, 0, 6)
	attrs = append(attrs, slog.String("request", e.id), slog.String("method", methodOf(r)),
		slog.String("operation", e.operation), slog.Int("status", e.status), slog.Int64("took_ms", took.Milliseconds()))
	if e.tenant.ID != "" {
		attrs = append(attrs, slog.String("tenant", string(e.tenant.ID)))
	}
	return attrs
}

// methodOf keeps a made-up method, which is text from outside, out of the log.
func methodOf(r *http.Request) string {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions:
		return r.Method
	}
	return "other"
}

func typeName(v any) string { return fmt.Sprintf("%T", v) }

func equalFold(a, b string) bool { return strings.EqualFold(a, b) }
