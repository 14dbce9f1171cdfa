"""`vision serve`: the search page and the REST service over an index."""

from __future__ import annotations

from typing import Annotated

import typer

from vision.commands.options import StoreOption


def serve(
    store: StoreOption,
    host: Annotated[
        str, typer.Option(help="Address to listen at; anything but loopback needs a token.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen at; 0 for any that is free.")] = 8765,
    token: Annotated[
        str | None,
        typer.Option(
            help="What every call must carry; others can read it here, so rather set the variable.",
            envvar="CHIASM_TOKEN",
        ),
    ] = None,
    name: Annotated[
        list[str] | None,
        typer.Option(help="A host name that the server is reached by; may be repeated."),
    ] = None,
    rate: Annotated[
        float, typer.Option(help="Requests a second of one client, on average; 0 for any number.")
    ] = 100.0,
    timeout: Annotated[float, typer.Option(help="Seconds after which a request is given up.")] = 60.0,
    open_page: Annotated[bool, typer.Option("--open/--no-open", help="Show the page in the browser.")] = True,
) -> None:
    """Serve a search page over an index, and a REST service under /api/v1, until Ctrl-C.

    Only this machine can reach it, unless --host says otherwise. While it runs, it alone holds the store.
    """
    import threading
    import webbrowser

    from vision.console import note
    from vision.server.options import Limits, ServerOptions

    limits = Limits(rate=rate, timeout_s=timeout)
    options = ServerOptions(host=host, port=port, token=token, names=tuple(name or ()), limits=limits)
    with note("Opening the index"):
        from vision.retrieval import ImageIndex
        from vision.server.app import create_app
        from vision.server.serve import listen, server_of, url_of

        listening = listen(options)
    with listening, ImageIndex.open(store) as index:
        url, count = url_of(listening, host), len(index)

        def ready() -> None:
            typer.echo(f"{count:,} pictures at {url} (Ctrl-C ends it)")
            if open_page:
                webbrowser.open(url)

        ending = threading.Event()
        server_of(create_app(index, options, ending=ending), ready, ending).run(sockets=[listening])
