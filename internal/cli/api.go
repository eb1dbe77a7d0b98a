package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"tandem/internal/client"
)

const defaultServer = "http://127.0.0.1:8080"

// What the client commands read from the environment.
const (
	envServer         = "TANDEM_SERVER"
	envTenant         = "TANDEM_TENANT"
	envAccountSID     = "TANDEM_ACCOUNT_SID"
	envToken          = "TANDEM_TOKEN"
	envTokenFile      = "TANDEM_TOKEN_FILE"
	envAdminToken     = "TANDEM_ADMIN_TOKEN"
	envAdminTokenFile = "TANDEM_ADMIN_TOKEN_FILE"
	envContext        = "TANDEM_CONTEXT"
)

// An apiGroup is a command whose subcommands use the HTTP API.
type apiGroup struct {
	p       *program
	cmd     *cobra.Command
	flags   target
	context string
	format  string
}

// api makes a group with the flags that say where the API is and who asks.
func (p *program) api(use, short string) *apiGroup {
	g := &apiGroup{p: p, cmd: &cobra.Command{Use: use, Short: short, GroupID: groupManage}}
	flags := g.cmd.PersistentFlags()
	flags.StringVar(&g.flags.Server, "server", "", "base URL of the API (environment "+envServer+"; default "+defaultServer+")")
	flags.StringVar(&g.flags.AdminToken, "admin-token", "", "the operator's token ("+envAdminToken+", "+envAdminTokenFile+")")
	flags.StringVar(&g.flags.Tenant, "tenant", "", "tenant id ("+envTenant+")")
	flags.StringVar(&g.flags.AccountSID, "account-sid", "", "the tenant's Account SID ("+envAccountSID+")")
	flags.StringVar(&g.flags.Token, "token", "", "the tenant's token ("+envToken+", "+envTokenFile+")")
	flags.StringVar(&g.context, "context", "", "saved context to use ("+envContext+"; default: the current one)")
	flags.StringVarP(&g.format, "output", "o", formatTable, "table or json")
	return g
}

// A verb is one operation on the command line.
type verb struct {
	use, short, example string
	args                cobra.PositionalArgs
	columns             []string                               // of a list; nil: the answer is one thing
	draw                func(io.Writer, json.RawMessage) error // writes the answer its own way
	// run makes the requests. What the last one was answered is printed.
	run func(ctx context.Context, s *session, args []string) error
}

// add gives the group a verb and returns its command, for flags of its own.
func (g *apiGroup) add(v verb) *cobra.Command {
	cmd := &cobra.Command{Use: v.use, Short: v.short, Example: v.example, Args: v.args}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		s, err := g.session(cmd)
		if err != nil {
			return err
		}
		if err := v.run(cmd.Context(), s, args); err != nil {
			return explained(err)
		}
		return s.print(v)
	}
	g.cmd.AddCommand(cmd)
	return cmd
}

// alone makes the group's one verb a command of its own, without the group.
func (g *apiGroup) alone(cmd *cobra.Command) *cobra.Command {
	g.cmd.RemoveCommand(cmd)
	cmd.GroupID = groupManage
	cmd.Flags().AddFlagSet(g.cmd.PersistentFlags())
	return cmd
}

// A session is a client with what belongs to one command.
type session struct {
	*client.Client
	cmd     *cobra.Command
	to      target
	format  string
	out     io.Writer
	notes   io.Writer
	answers *answers
}

// session finds out where the API is and who asks: flags, then environment, then
// the saved context.
func (g *apiGroup) session(cmd *cobra.Command) (*session, error) {
	if g.format != formatTable && g.format != formatJSON {
		return nil, misusef(cmd, "-o %q: wants table or json", g.format)
	}
	fromEnv, err := g.p.targetOfEnv()
	if err != nil {
		return nil, err
	}
	to := g.flags.or(fromEnv)
	saved, err := g.p.savedTarget(g.context)
	if err != nil {
		return nil, err
	}
	// Credentials are for the server they were saved with and no other.
	if to.Server == "" || sameServer(to.Server, saved.Server) {
		to = to.or(saved)
	}
	to = to.or(target{Server: defaultServer})
	s := &session{cmd: cmd, to: to, format: g.format, out: g.p.Out, notes: g.p.Err, answers: &answers{}}
	s.Client, err = client.New(client.Options{BaseURL: to.Server, AccountSID: to.AccountSID, Token: to.Token,
		AdminToken: to.AdminToken, HTTP: &http.Client{Timeout: requestTimeout, Transport: s.answers}})
	if err != nil {
		return nil, misuse(cmd, err)
	}
	return s, nil
}

// unhurried is a client for answers that take their time, of which none is kept.
func (s *session) unhurried() (*client.Client, error) {
	c, err := client.New(client.Options{BaseURL: s.to.Server, AccountSID: s.to.AccountSID, Token: s.to.Token, HTTP: &http.Client{}})
	if err != nil {
		return nil, misuse(s.cmd, err)
	}
	return c, nil
}

func sameServer(a, b string) bool { return strings.TrimRight(a, "/") == strings.TrimRight(b, "/") }

// requestTimeout is longer than a server takes over anything.
const requestTimeout = 30 * time.Second

// targetOfEnv reads the environment. A secret comes from its variable or from
// the file that its …_FILE variable names.
func (p *program) targetOfEnv() (target, error) {
	t := target{Server: p.env(envServer), Tenant: p.env(envTenant), AccountSID: p.env(envAccountSID)}
	for _, secret := range []struct {
		to          *string
		value, file string
	}{{&t.Token, envToken, envTokenFile}, {&t.AdminToken, envAdminToken, envAdminTokenFile}} {
		*secret.to = p.env(secret.value)
		path := p.env(secret.file)
		switch {
		case path == "":
			continue
		case *secret.to != "":
			return t, fmt.Errorf("%s and %s are both set; only one of them may be", secret.value, secret.file)
		}
		var err error
		if *secret.to, err = readSecret(p.In, path); err != nil {
			return t, fmt.Errorf("%s: %w", secret.file, err)
		}
	}
	return t, nil
}

// savedTarget gives the context that is asked for, or the current one. Where
// there is no home there are no contexts, which only matters to who asked for one.
func (p *program) savedTarget(name string) (target, error) {
	if name == "" {
		name = p.env(envContext)
	}
	if _, err := p.contextsPath(); err != nil && name == "" {
		return target{}, nil
	}
	saved, err := p.readContexts()
	if err != nil {
		return target{}, err
	}
	asked := name != ""
	if !asked {
		name = saved.Current
	}
	t, ok := saved.Contexts[name]
	if asked && !ok {
		return target{}, fmt.Errorf("no context %q; see \"tandem context list\"", name)
	}
	return t, nil
}

// tenant is the tenant that a command is about.
func (s *session) tenant() (string, error) {
	if s.to.Tenant == "" {
		return "", misusef(s.cmd, "which tenant? Give --tenant, %s or a context with one", envTenant)
	}
	return s.to.Tenant, nil
}

// asTenant is the tenant as whom a command acts.
func (s *session) asTenant() (string, error) {
	if s.to.AccountSID == "" || s.to.Token == "" {
		return "", misusef(s.cmd, "this is done as a tenant: give --account-sid and --token, %s and %s, or a context with them",
			envAccountSID, envToken)
	}
	return s.tenant()
}

// asOperator refuses to go on without an admin token.
func (s *session) asOperator() error {
	if s.to.AdminToken == "" {
		return misusef(s.cmd, "this is done as the operator: give --admin-token, %s, %s or a context with one",
			envAdminToken, envAdminTokenFile)
	}
	return nil
}

// operatorFor is the tenant on whom the operator acts.
func (s *session) operatorFor() (string, error) {
	if err := s.asOperator(); err != nil {
		return "", err
	}
	return s.tenant()
}

// operates reports whether there is an admin token, for operations that a
// tenant and the operator have each on a path of their own.
func (s *session) operates() bool { return s.to.AdminToken != "" }

// changed gives a pointer to a flag's value if the flag was given: only then is
// the field sent.
func changed[T any](cmd *cobra.Command, flag string, value *T) *T {
	if cmd.Flags().Changed(flag) {
		return value
	}
	return nil
}

// print writes the last answer.
func (s *session) print(v verb) error {
	var answer struct {
		Response json.RawMessage `json:"response"`
	}
	if err := json.Unmarshal(s.answers.last, &answer); err != nil || answer.Response == nil {
		return errAnswer
	}
	switch {
	case s.format == formatJSON:
		return printJSON(s.out, answer.Response)
	case v.draw != nil:
		return v.draw(s.out, answer.Response)
	case v.columns == nil:
		return printOne(s.out, answer.Response)
	}
	var list page
	if err := json.Unmarshal(answer.Response, &list); err != nil {
		return errAnswer
	}
	if err := printTable(s.out, list.Items, v.columns); err != nil {
		return err
	}
	if list.NextCursor != "" {
		_, err := fmt.Fprintf(s.notes, "there is more: --cursor %s\n", plain(list.NextCursor))
		return err
	}
	return nil
}

// pick makes the answer to a list the answer to a question for one of its items,
// where the client offers lists only. It tells whether the item is there.
func (s *session) pick(name, value string) bool {
	var answer struct {
		Response page `json:"response"`
	}
	if json.Unmarshal(s.answers.last, &answer) != nil {
		return false
	}
	for _, item := range answer.Response.Items {
		fields, err := fieldsOf(item)
		if err != nil {
			return false
		}
		for _, f := range fields {
			if f.name == name && cell(f.value) == value {
				s.answers.last = slices.Concat([]byte(`{"response":`), item, []byte("}"))
				return true
			}
		}
	}
	return false
}

// answers is a transport that keeps the body of the last answer. What a command
// prints is the answer itself and not what the client has made of it, so that a
// field which this version does not know is shown too.
type answers struct {
	last []byte
}

// maxAnswer bounds what is kept; a page of the API is far smaller.
const maxAnswer = 16 << 20

// RoundTrip sends a request (http.RoundTripper).
func (a *answers) RoundTrip(req *http.Request) (*http.Response, error) {
	res, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	a.last, err = io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err = errors.Join(err, res.Body.Close()); err != nil {
		return nil, err
	}
	res.Body = io.NopCloser(bytes.NewReader(a.last))
	return res, nil
}

// explained writes a refusal of the API as "code: message", with what helps to
// find it in the server's log.
func explained(err error) error {
	var refused *client.Error
	if !errors.As(err, &refused) {
		return err
	}
	code, message := refused.Code, refused.Message
	if code == "" {
		return fmt.Errorf("HTTP status %d: %w", refused.Status, errAnswer)
	}
	var more []string
	if refused.Field != "" {
		more = append(more, "field "+plain(refused.Field))
	}
	if len(refused.BlockedBy) > 0 {
		more = append(more, "blocked by "+plain(strings.Join(refused.BlockedBy, " ")))
	}
	if refused.RetryAfter > 0 {
		more = append(more, fmt.Sprintf("retry after %s", refused.RetryAfter))
	}
	more = append(more, "request "+plain(refused.RequestID))
	return fmt.Errorf("%s: %s (%s)", plain(code), plain(message), strings.Join(more, ", "))
}

// paging adds the flags of a list that comes page by page.
func paging(cmd *cobra.Command) *client.Page {
	var at client.Page
	cmd.Flags().IntVar(&at.Limit, "limit", 20, "items on a page, at most 100")
	cmd.Flags().StringVar(&at.Cursor, "cursor", "", "where the page before ended")
	return &at
}
