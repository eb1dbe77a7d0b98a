// Command client uses the API through a client that oapi-codegen made of its
// OpenAPI document, as an application would: an allocation is made, read, changed
// and deleted, calls are listed, and what is refused is refused.
//
// Arguments: the server's address, tenant, Account SID, token, a virtual number.
package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"slices"
	"time"

	"tandem.example/client/api"
)

const from, to, another = "+919900000001", "+918800000002", "+917700000003"

func main() {
	if err := smoke(context.Background(), os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println("ok")
}

// as gives a client with credentials.
func as(server, sid, token string) (*api.ClientWithResponses, error) {
	return api.NewClientWithResponses(server, api.WithRequestEditorFn(func(_ context.Context, r *http.Request) error {
		r.SetBasicAuth(sid, token)
		return nil
	}))
}

func smoke(ctx context.Context, args []string) error {
	if len(args) != 5 {
		return fmt.Errorf("%d arguments, want five", len(args))
	}
	server, tenant, sid, token, virtual := args[0], args[1], args[2], args[3], args[4]
	c, err := as(server, sid, token)
	if err != nil {
		return err
	}
	key, duration := "smoke-1", int64(3600)
	order := api.CreateBody{CallerIdNumber: virtual, From: []string{from}, To: []string{to}, Duration: &duration}
	made, err := c.GreenvnCreateWithResponse(ctx, tenant, &api.GreenvnCreateParams{IdempotencyKey: &key}, order)
	if err != nil || made.JSON201 == nil {
		return fmt.Errorf("create: %v, %v", made, err)
	}
	a := made.JSON201.Response
	if a.VirtualNumber != virtual || a.ExpiresAt.Sub(a.CreatedAt) != time.Hour || a.Status != api.CreatedStatusActive {
		return fmt.Errorf("created %+v", a)
	}
	changed, err := c.GreenvnUpdatePartiesWithResponse(ctx, tenant, a.GreenvnId, nil, api.PartiesBody{To: &[]string{another}})
	if err != nil || changed.JSON200 == nil || !slices.Equal(changed.JSON200.Response.To, []string{another}) {
		return fmt.Errorf("update: %v, %v", changed, err)
	}
	read, err := c.GreenvnGetWithResponse(ctx, tenant, a.GreenvnId)
	if err != nil || read.JSON200 == nil || !slices.Equal(read.JSON200.Response.From, []string{from}) || read.Headers200.XRequestId == "" {
		return fmt.Errorf("read: %v, %v", read, err)
	}
	deleted, err := c.GreenvnDeleteWithResponse(ctx, tenant, a.GreenvnId, nil)
	if err != nil || deleted.JSON200 == nil || deleted.JSON200.Response.DeletedAt.IsZero() {
		return fmt.Errorf("delete: %v, %v", deleted, err)
	}
	order.CallerIdNumber = "+15550100"
	refused, err := c.GreenvnCreateWithResponse(ctx, tenant, nil, order)
	if err != nil || refused.JSON400 == nil || refused.JSON400.Error.Code != api.ProblemDetailCodeVirtualNumberNotInPool {
		return fmt.Errorf("a number that is in no pool: %v, %v", refused, err)
	}
	calls, err := c.CallsListWithResponse(ctx, tenant, &api.CallsListParams{})
	if err != nil || calls.JSON200 == nil || len(calls.JSON200.Response.Items) != 0 {
		return fmt.Errorf("list calls: %v, %v", calls, err)
	}
	return stranger(ctx, server, tenant, sid, token+"x")
}

// stranger asks with a wrong token.
func stranger(ctx context.Context, server, tenant, sid, token string) error {
	c, err := as(server, sid, token)
	if err != nil {
		return err
	}
	calls, err := c.CallsListWithResponse(ctx, tenant, nil)
	if err != nil || calls.JSON401 == nil || calls.JSON401.Error.Code != api.ProblemDetailCodeUnauthorized || calls.Headers401.WWWAuthenticate == "" {
		return fmt.Errorf("a wrong token: %v, %v", calls, err)
	}
	return nil
}
