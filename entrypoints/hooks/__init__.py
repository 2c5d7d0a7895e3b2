"""Changes to Ray and the libraries beside it, made when their modules are imported in a Ray container."""
