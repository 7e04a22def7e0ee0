# SPDX-License-Identifier: Apache-2.0
"""SQLAlchemy over psycopg: connect, ORM work, reflection. Usage: sqlalchemy_client.py URL"""
import sys

from sqlalchemy import (Column, ForeignKey, Index, Integer, MetaData, Numeric, String, create_engine, func,
                        inspect, insert, select, text, update)
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, declarative_base, relationship

URL = sys.argv[1].replace("postgresql://", "postgresql+psycopg://", 1)
Base = declarative_base()


def say(section, *values):
    print(section + ":", *[v if isinstance(v, str) else repr(v) for v in values], flush=True)


class Customer(Base):
    __tablename__ = "alchemy_customers"
    id = Column(Integer, primary_key=True)
    name = Column(String(80), nullable=False, unique=True)
    orders = relationship("Order", back_populates="customer", order_by="Order.id")


class Order(Base):
    __tablename__ = "alchemy_orders"
    id = Column(Integer, primary_key=True)
    customer_id = Column(ForeignKey("alchemy_customers.id"), nullable=False)
    total = Column(Numeric(10, 2), server_default="0")
    customer = relationship("Customer", back_populates="orders")
    __table_args__ = (Index("alchemy_by_customer", "customer_id", "total"),)


def work(engine):
    with Session(engine) as session:
        for i in range(20):
            session.add(Customer(name=f"c{i}", orders=[Order(total=i), Order(total=i * 2)]))
        session.commit()
        say("count", session.scalar(select(func.count()).select_from(Order)))
        rows = session.execute(select(Customer.name, func.sum(Order.total)).join(Order).group_by(Customer.name)
                               .order_by(Customer.name).limit(3)).all()
        say("join", [tuple(r) for r in rows])
        say("lazy", [str(o.total) for o in session.get(Customer, 5).orders])
        session.add(Customer(name="c1"))
        try:
            session.commit()
        except IntegrityError as e:
            session.rollback()
            say("integrity", e.orig.sqlstate, e.orig.diag.message_detail)
        session.execute(update(Order).where(Order.total > 30).values(total=30))
        session.commit()
        say("updated", str(session.scalar(select(func.max(Order.total)))))
    with engine.begin() as conn:
        result = conn.execute(insert(Customer).returning(Customer.id), [{"name": f"bulk{i}"} for i in range(50)])
        say("bulk", len(result.all()))
        conn.execute(text("SAVEPOINT s"))
        conn.execute(text("ROLLBACK TO SAVEPOINT s"))
    with engine.connect().execution_options(stream_results=True, yield_per=10) as conn:
        say("streamed", sum(1 for _ in conn.execute(select(Customer.id))))


def reflect(engine):
    i = inspect(engine)
    say("tables", sorted(t for t in i.get_table_names() if t.startswith("alchemy")))
    say("schemas", sorted(i.get_schema_names()))
    for table in ("alchemy_customers", "alchemy_orders"):
        say("columns", table, [(c["name"], str(c["type"]), c["nullable"]) for c in i.get_columns(table)])
        say("primary key", i.get_pk_constraint(table)["constrained_columns"])
        say("foreign keys", [(k["referred_table"], k["constrained_columns"]) for k in i.get_foreign_keys(table)])
        say("indexes", [(x["name"], x["column_names"]) for x in i.get_indexes(table)])
        say("unique", [x["column_names"] for x in i.get_unique_constraints(table)])
        say("checks", i.get_check_constraints(table), i.get_table_comment(table))
    say("has", i.has_table("alchemy_orders"), i.has_table("alchemy_absent"), i.get_view_names())
    meta = MetaData()
    meta.reflect(engine, only=lambda name, _: name.startswith("alchemy"))
    say("reflected", sorted(meta.tables), sorted(c.name for c in meta.tables["alchemy_orders"].columns))


def main():
    engine = create_engine(URL, pool_size=3)
    with engine.connect() as conn:
        say("dialect", conn.dialect.name, conn.dialect.default_schema_name, conn.dialect.server_version_info[0])
    Base.metadata.drop_all(engine)
    Base.metadata.create_all(engine)
    work(engine)
    reflect(engine)
    Base.metadata.drop_all(engine)
    engine.dispose()
    say("end", "ok")


main()
