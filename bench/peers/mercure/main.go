// Mercure's hub over Go's HTTP server, as its own Caddy module runs it: anonymous readers, one
// publisher's key, the transport in memory.
//
//	mercure ADDR      serves /.well-known/mercure
package main

import (
	"log"
	"net/http"
	"os"
	"time"

	"github.com/dunglas/mercure"
	"go.uber.org/zap"
)

func main() {
	hub, err := mercure.NewHub(
		mercure.WithLogger(zap.NewNop()),
		mercure.WithAnonymous(),
		mercure.WithTransport(mercure.NewLocalTransport()),
		mercure.WithWriteTimeout(0),
		mercure.WithHeartbeat(40*time.Second),
		mercure.WithPublisherJWT([]byte("bench-only-key-of-thirty-two-bytes"), "HS256"),
	)
	if err != nil {
		log.Fatal(err)
	}
	http.Handle("/.well-known/mercure", hub)
	log.Fatal(http.ListenAndServe(os.Args[1], nil))
}
