// Package client is a client of Tandem's own HTTP API, for the command line and
// for tests. It knows the contract and nothing of the server behind it.
package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// maxAnswer bounds what is read of an answer.
const maxAnswer = 16 << 20

// Options say where the API is and who asks. A client may have the credentials
// of a tenant, of the operator, or both; each operation uses those it needs.
type Options struct {
	BaseURL    string // e.g. http://127.0.0.1:8080
	AccountSID string
	Token      string
	AdminToken string
	HTTP       *http.Client // default: one that gives up after 30 seconds
}

// Client may be used by any goroutine.
type Client struct {
	base       string
	sid, token string
	admin      string
	http       *http.Client
}

// New makes a client. It refuses a base URL that is not http or https.
func New(o Options) (*Client, error) {
	u, err := url.Parse(o.BaseURL)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return nil, errors.New("the server must be given as http://host:port or https://host")
	}
	c := &Client{base: strings.TrimRight(o.BaseURL, "/"), sid: o.AccountSID, token: o.Token, admin: o.AdminToken, http: o.HTTP}
	if c.http == nil {
		c.http = &http.Client{Timeout: 30 * time.Second}
	}
	return c, nil
}

// Error is a refusal by the server.
type Error struct {
	Status     int    // HTTP
	Code       string // of the closed list; "" when the answer was no error envelope
	Message    string
	Field      string        // the one to blame, or ""
	BlockedBy  []string      // identifiers of what stands in the way
	RequestID  string        // to be found in the server's log
	RetryAfter time.Duration // 0 if the server did not say
}

// Error gives the message, and the code and request id to ask about.
func (e *Error) Error() string {
	if e.Code == "" {
		return fmt.Sprintf("the server answered %d", e.Status)
	}
	return fmt.Sprintf("%s (%s, request %s)", e.Message, e.Code, e.RequestID)
}

// A Call modifies one request.
type Call func(*http.Request)

// Key makes a change safe to repeat.
func Key(idempotencyKey string) Call {
	return func(r *http.Request) { r.Header.Set("Idempotency-Key", idempotencyKey) }
}

// List is one page. NextCursor asks for the next one; "" when there is none.
type List[T any] struct {
	Items      []T    `json:"items"`
	NextCursor string `json:"next_cursor"`
}

// Page says which part of a list to read. The zero Page is the first one.
type Page struct {
	Limit  int
	Cursor string
}

func (p Page) query() url.Values {
	q := url.Values{}
	if p.Limit != 0 {
		q.Set("limit", strconv.Itoa(p.Limit))
	}
	put(q, "cursor", p.Cursor)
	return q
}

func put(q url.Values, name, value string) {
	if value != "" {
		q.Set(name, value)
	}
}

// request is one operation.
type request struct {
	method string
	path   []string // segments, not yet escaped
	query  url.Values
	body   any // nil for none
	calls  []Call
}

// who puts the credentials of an operation on its request.
type who func(*Client, *http.Request) error

func asTenant(c *Client, r *http.Request) error {
	if c.sid == "" || c.token == "" {
		return errors.New("this needs an account SID and a token")
	}
	r.SetBasicAuth(c.sid, c.token)
	return nil
}

func asOperator(c *Client, r *http.Request) error {
	if c.admin == "" {
		return errors.New("this needs the admin token")
	}
	r.Header.Set("Authorization", "Bearer "+c.admin)
	return nil
}

// do sends a request and reads the response out of its envelope.
func do[T any](ctx context.Context, c *Client, as who, in request) (T, error) {
	var out struct {
		Response T `json:"response"`
	}
	req, err := c.prepare(ctx, as, in)
	if err != nil {
		return out.Response, err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return out.Response, withoutURL(err)
	}
	defer func() { _ = resp.Body.Close() }() // it was read to its end, or given up
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return out.Response, fmt.Errorf("read the answer: %w", err)
	}
	if resp.StatusCode >= 300 {
		return out.Response, errorOf(resp, body)
	}
	if err := json.Unmarshal(body, &out); err != nil {
		return out.Response, fmt.Errorf("the answer is not the API's: %w", err)
	}
	return out.Response, nil
}

func (c *Client) prepare(ctx context.Context, as who, in request) (*http.Request, error) {
	var path strings.Builder
	path.WriteString(c.base)
	path.WriteString("/v1")
	for _, segment := range in.path {
		path.WriteByte('/')
		path.WriteString(url.PathEscape(segment))
	}
	if len(in.query) > 0 {
		path.WriteString("?" + in.query.Encode())
	}
	var body io.Reader
	if in.body != nil {
		b, err := json.Marshal(in.body)
		if err != nil {
			return nil, fmt.Errorf("write the request: %w", err)
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, in.method, path.String(), body)
	if err != nil {
		return nil, errors.New("the request cannot be made: a name in it is not fit for a URL")
	}
	if in.body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	for _, modify := range in.calls {
		modify(req)
	}
	return req, as(c, req)
}

// withoutURL takes the URL, which may hold a number, out of a transport error.
func withoutURL(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return fmt.Errorf("ask the server: %w", u.Err)
	}
	return err
}

func errorOf(resp *http.Response, body []byte) error {
	var in struct {
		Error struct {
			Code      string   `json:"code"`
			Message   string   `json:"message"`
			Field     string   `json:"field"`
			BlockedBy []string `json:"blocked_by"`
			RequestID string   `json:"request_id"`
		} `json:"error"`
	}
	e := &Error{Status: resp.StatusCode, RequestID: resp.Header.Get("X-Request-Id")}
	if json.Unmarshal(body, &in) == nil {
		e.Code, e.Message, e.Field, e.BlockedBy = in.Error.Code, in.Error.Message, in.Error.Field, in.Error.BlockedBy
		if in.Error.RequestID != "" {
			e.RequestID = in.Error.RequestID
		}
	}
	if n, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil {
		e.RetryAfter = time.Duration(n) * time.Second
	}
	return e
}
