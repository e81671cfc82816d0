// Command example prints the failed exports.
package main

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"os"

	"connectrpc.com/connect"

	operatorv1 "github.com/tieback/tieback/proto/tieback/operator/v1"
	"github.com/tieback/tieback/proto/tieback/operator/v1/operatorv1connect"
)

func main() {
	authorized := connect.UnaryInterceptorFunc(func(next connect.UnaryFunc) connect.UnaryFunc {
		return func(ctx context.Context, r connect.AnyRequest) (connect.AnyResponse, error) {
			r.Header().Set("Authorization", "Bearer "+os.Getenv("TIEBACK_TOKEN"))
			return next(ctx, r)
		}
	})
	requests := operatorv1connect.NewRequestServiceClient(http.DefaultClient, os.Getenv("TIEBACK_URL"), connect.WithInterceptors(authorized))
	answer, err := requests.ListRequests(context.Background(), &operatorv1.ListRequestsRequest{
		States: []string{"attention", "failed"}, Categories: []string{"export"}, PageSize: 20,
	})
	if err != nil {
		log.Fatal(err)
	}
	for _, r := range answer.Requests {
		fmt.Println(r.RequestId, r.CompanyName, r.Record, r.Reason)
	}
}
