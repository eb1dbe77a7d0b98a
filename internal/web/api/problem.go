package api

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"tandem/internal/control"
	"tandem/internal/masking"
	"tandem/internal/web/auth"
)

// The codes that only the HTTP edge gives; with masking's they are the closed
// list of docs/compatibility.md.
const (
	codeUnauthorized     masking.Code = "unauthorized"
	codeRateLimited      masking.Code = "rate_limited"
	codeMethodNotAllowed masking.Code = "method_not_allowed"
	codeInvalidRange     masking.Code = "invalid_range"
	codeInternal         masking.Code = "internal_error"
)

// retryAfter is what a client is told when nobody knows better.
const retryAfter = 2 * time.Second

// status is the one mapping of kinds to statuses.
func status(k masking.Kind) int {
	switch k {
	case masking.Invalid:
		return http.StatusBadRequest
	case masking.NotFound:
		return http.StatusNotFound
	case masking.Conflict, masking.Exhausted:
		return http.StatusConflict
	case masking.Gone:
		return http.StatusGone
	case masking.Unavailable:
		return http.StatusServiceUnavailable
	}
	return http.StatusInternalServerError
}

// Problem is the body of every answer that is no success, and the status and
// headers that go with it.
type Problem struct {
	Detail ProblemDetail `json:"error"`
	status int
	header http.Header
}

// ProblemDetail says what was wrong.
type ProblemDetail struct {
	Code      masking.Code `json:"code" doc:"one of a closed list; an application may branch on it" enum:"invalid_body,invalid_field,missing_field,invalid_number,emergency_number,party_is_virtual_number,number_not_allowed,same_party_on_both_sides,duration_too_long,virtual_number_not_in_pool,method_not_allowed,unauthorized,not_found,events_gone,virtual_number_in_use,party_in_use,no_number_available,allocation_not_active,no_pin_available,invalid_audio,invalid_range,recording_held,recording_not_ready,number_in_use,idempotency_key_reused,already_exists,still_in_use,too_many_webhooks,rate_limited,internal_error,temporarily_unavailable"`
	Message   string       `json:"message" doc:"for people; never holds a party's number"`
	Field     string       `json:"field,omitempty" doc:"the one field to blame, if there is one" example:"caller_id_number"`
	BlockedBy []string     `json:"blocked_by,omitempty" doc:"identifiers of what stands in the way, at most 100"`
	RequestID string       `json:"request_id" doc:"as in X-Request-Id and in the server's log"`
}

// Error, GetStatus and GetHeaders make a Problem an error that huma writes.
func (p *Problem) Error() string           { return string(p.Detail.Code) }
func (p *Problem) GetStatus() int          { return p.status }
func (p *Problem) GetHeaders() http.Header { return p.header }

// unauthorized carries the challenge of a 401.
type unauthorized struct{ challenge string }

func (u *unauthorized) Error() string { return "unauthorized" }

// limited carries how long a tenant has to wait.
type limited struct{ wait time.Duration }

func (l *limited) Error() string { return "rate limited" }

// authError makes an error of auth one of ours.
func authError(err error, challenge string) error {
	var many *auth.TooManyAttempts
	switch {
	case errors.Is(err, auth.ErrUnauthorized):
		return &unauthorized{challenge}
	case errors.As(err, &many):
		return &limited{many.RetryAfter}
	}
	return err
}

func errInternal() error { return errors.New("internal error") }

func invalidField(field, message string) *masking.Error {
	return &masking.Error{Kind: masking.Invalid, Code: masking.CodeInvalidField, Field: field, Message: message}
}

func missingField(field, message string) *masking.Error {
	return &masking.Error{Kind: masking.Invalid, Code: masking.CodeMissingField, Field: field, Message: message}
}

func invalidBody(message string) *masking.Error {
	return &masking.Error{Kind: masking.Invalid, Code: masking.CodeInvalidBody, Message: message}
}

// problem says an error to the client. What is no refusal of ours is an
// internal error, whose cause stays in the log.
func (s *server) problem(ctx context.Context, err error) *Problem {
	p := &Problem{header: http.Header{}}
	var (
		refused *masking.Error
		nobody  *unauthorized
		waiting *limited
		ready   *Problem
	)
	switch {
	case errors.As(err, &ready):
		return ready
	case errors.As(err, &refused):
		return s.refusal(ctx, refused)
	case errors.As(err, &nobody):
		p.status, p.Detail = http.StatusUnauthorized, ProblemDetail{Code: codeUnauthorized, Message: "valid credentials are required"}
		p.header.Set("WWW-Authenticate", nobody.challenge)
	case errors.As(err, &waiting):
		p.status, p.Detail = http.StatusTooManyRequests, ProblemDetail{Code: codeRateLimited, Message: "too many requests; see Retry-After"}
		p.retryAfter(waiting.wait)
	default:
		s.Log.ErrorContext(ctx, "request failed", "request", exchangeOf(ctx).id, "error", err)
		p.status, p.Detail = http.StatusInternalServerError, ProblemDetail{Code: codeInternal, Message: "internal error"}
	}
	p.Detail.RequestID = exchangeOf(ctx).id
	return p
}

// refusal says a rule's refusal.
func (s *server) refusal(ctx context.Context, e *masking.Error) *Problem {
	p := &Problem{status: status(e.Kind), header: http.Header{},
		Detail: ProblemDetail{Code: e.Code, Message: e.Message, Field: e.Field, BlockedBy: e.BlockedBy, RequestID: exchangeOf(ctx).id}}
	switch {
	case !e.RetryAfter.IsZero():
		p.retryAfter(e.RetryAfter.Sub(s.Clock()))
	case e.Kind == masking.Unavailable:
		p.retryAfter(retryAfter)
	}
	return p
}

func (p *Problem) retryAfter(wait time.Duration) { setRetryAfter(p.header, wait) }

// setRetryAfter tells how long to wait, in whole seconds and at least one
// (RFC 9110 §10.2.3).
func setRetryAfter(h http.Header, wait time.Duration) {
	h.Set("Retry-After", strconv.FormatInt(max(1, wholeSeconds(wait)), 10))
}

func wholeSeconds(d time.Duration) int64 { return int64(math.Ceil(d.Seconds())) }

// answerer gives refusals as bytes, to be kept with an Idempotency-Key.
func (s *server) answerer(ctx context.Context) func(*masking.Error) control.Answer {
	return func(e *masking.Error) control.Answer {
		p := s.refusal(ctx, e)
		return control.Answer{Status: p.status, Body: encode(p), RetryAfter: e.RetryAfter}
	}
}

// refuse writes a refusal outside of huma.
func (s *server) refuse(w http.ResponseWriter, r *http.Request, err error) {
	p := s.problem(r.Context(), err)
	h := w.Header()
	for name, values := range p.header {
		h[name] = values
	}
	h.Set("Content-Type", "application/json")
	w.WriteHeader(p.status)
	_, _ = w.Write(encode(p)) // the client may have gone
}

// adoptEnvelope makes huma's own errors Problems. Its constructors are
// variables of its package, so this is done once for the process.
var adoptEnvelope = sync.OnceFunc(func() {
	huma.NewErrorWithContext = func(ctx huma.Context, status int, message string, errs ...error) huma.StatusError {
		p := newProblem(status, message, errs)
		p.Detail.RequestID = exchangeOf(ctx.Context()).id
		return p
	}
	huma.NewError = func(status int, message string, errs ...error) huma.StatusError {
		return newProblem(status, message, errs)
	}
})

// newProblem translates what huma found wrong: parameters, since bodies are
// read by decode. Its messages tell the rule of the schema; the value that
// broke it is left out.
func newProblem(status int, message string, errs []error) *Problem {
	if status >= http.StatusInternalServerError {
		return &Problem{status: http.StatusInternalServerError, Detail: ProblemDetail{Code: codeInternal, Message: "internal error"}}
	}
	p := &Problem{status: http.StatusBadRequest, Detail: ProblemDetail{Code: masking.CodeInvalidField, Message: message}}
	for _, err := range errs {
		var detail *huma.ErrorDetail
		if errors.As(err, &detail) {
			_, p.Detail.Field, _ = strings.Cut(detail.Location, ".")
			p.Detail.Message = fmt.Sprintf("%s: %s", p.Detail.Field, detail.Message)
			return p
		}
	}
	p.Detail.Code = masking.CodeInvalidBody
	return p
}
